"""Does training compute on this GPU what it should, and how fast? One command, a dated page.

    python -m benchmarks.gpu [--minutes 8] [--out FOLDER] [--only CHECK,…]

It needs one NVIDIA GPU, torch, transformers, peft, pyarrow and pydantic; no network, no vLLM, no
Prefect. The checks run in order of worth (`checks`) until the time is up. Each has a limit of its
own, and an error, a hang or a crash ends that check alone. Results are written as they are had, to
FOLDER/DATE-gpu.jsonl, and the page beside them after each check. Exit code 1: a check failed.
`--device cpu` is a dry run with tiny models.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.gpu.checks import CHECKS, Check
from benchmarks.gpu.page import failed, write_page
from benchmarks.gpu.results import Ending, Failure, Machine, append, read
from benchmarks.measure import names_among
from dpo_core.children import Child, child_environment
from dpo_core.errors import BadInput, RatchetError

_NEEDED = ("torch", "transformers", "peft", "pyarrow", "pydantic")
_CHECK_MACHINE_S = 120.0


class Workers:
    """The process of the checks, and after each that failed the next one. A context manager."""

    def __init__(self, device: str, folder: Path) -> None:
        self.device = device
        self.log = folder / "worker.log"
        self._child: Child | None = None

    def ask(self, request: Mapping[str, Any], limit_s: float) -> tuple[dict[str, Any], bool]:
        """(the answer, whether it came in time). Raises RatchetError as the child does."""
        child = self._child = self._child or Child.start(
            "benchmarks.gpu.worker", self.log, _environment(self.device)
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            with suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGABRT)  # its log then says where it was

        timer = threading.Timer(limit_s, end)
        timer.start()
        try:
            return child.ask(request), True
        except RatchetError:
            self.close()
            if late.is_set():
                return {}, False
            raise
        finally:
            timer.cancel()

    def trace(self) -> str:
        """What the processes wrote, the last one at the end."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _environment(device: str) -> dict[str, str]:
    """One GPU, or none; cuBLAS repeats itself, as training has it."""
    offline = {"HF_HUB_OFFLINE": "1"}
    if device == "cpu":
        return {**child_environment(1), **offline, "CUDA_VISIBLE_DEVICES": ""}
    return {
        **child_environment(len(os.sched_getaffinity(0))),
        **offline,
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def run_check(workers: Workers, name: str, check: Check, results: Path, left_s: float) -> Ending:
    """One check, within its limit and what is left of the run."""
    if left_s < check.least_s:
        return Ending(name, "not reached")
    request = {
        "op": "check",
        "check": name,
        "run": check.run,
        "device": workers.device,
        "results": str(results),
    }
    started = time.monotonic()
    in_time, limit_s = True, min(check.limit_s, left_s)
    try:
        answer, in_time = workers.ask(request, limit_s)
        if answer.get("failures"):
            workers.close()
    except RatchetError as error:
        append(results, Failure.of(name, "its process", error.message, workers.trace()))
    seconds = time.monotonic() - started
    if in_time:
        return Ending(name, "ended", seconds)
    if limit_s < check.limit_s:
        return Ending(name, "cut off", seconds)
    late = f"did not end within {limit_s:.0f} s"
    append(results, Failure.of(name, "its limit", late, workers.trace()))
    return Ending(name, "timed out", seconds)


def run(options: Namespace, checks: Mapping[str, Check] = CHECKS) -> Path:
    """The results file. Raises BadInput, with nothing written, where there is nothing to check."""
    deadline = time.monotonic() + 60 * options.minutes
    at = datetime.now(UTC).isoformat(" ", "minutes")
    with tempfile.TemporaryDirectory() as folder, Workers(options.device, Path(folder)) as workers:
        facts, in_time = workers.ask({"op": "machine", "device": options.device}, _CHECK_MACHINE_S)
        if not in_time:
            raise BadInput(
                f"torch did not find the device within {_CHECK_MACHINE_S:.0f} s",
                "Run nvidia-smi: does it answer?",
            )
        results = _free(options.out, at[:10])
        told = {"run on": options.device, "at": at, "minutes": options.minutes}
        append(results, Machine({**told, **facts}))
        for name in options.only or checks:
            print(f"{name}: ", end="", flush=True)
            ending = run_check(workers, name, checks[name], results, deadline - time.monotonic())
            append(results, ending)
            print(f"{ending.how}, {ending.seconds:.0f} s", flush=True)
            write_page(results)
    return results


def _free(folder: Path, date: str) -> Path:
    """The first name of that day which no earlier run has taken."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (f"{date}-gpu{'' if number == 1 else f'-{number}'}.jsonl" for number in count(1))
    return next(path for name in names if not (path := folder / name).exists())


def parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="when to stop; default: 8")
    folder = Path(__file__).parents[1]
    parser.add_argument("--out", type=Path, default=folder, help="default: benchmarks/")
    parser.add_argument("--only", type=names_among(CHECKS), help="names of checks, and commas")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, checks: Mapping[str, Check] = CHECKS) -> int:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        print(f"{', '.join(missing)} missing: pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    try:
        results = run(options, checks)
    except RatchetError as error:
        print(f"{error.message}\n{error.remedy}".strip(), file=sys.stderr)
        return error.exit_code
    print(write_page(results).read_text(encoding="utf-8"))
    return int(failed(read(results)))


if __name__ == "__main__":
    sys.exit(main())
