"""Where the wall time of a campaign goes, seen from outside of the real command.

    python -m benchmarks.loop [--config configs/demo-cpu.yaml] [--set KEY=VALUE] [--json FILE]

`ratchet run` in a fresh folder; every line it prints is stamped as it arrives, and the ledger says
how long the work of each step took. Wall seconds that belong to no start of a process, warm start,
sampling, judging, training or evaluation are "everything else": less than a tenth of the total.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import KIND_OF_STEP, add_json_option, machine, write_result
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger

TARGET_ELSE_SHARE = 0.10
_KINDS = {"base": "warm start", **KIND_OF_STEP}
_START = "starting processes"
_ELSE = "everything else"
_NOOP_STEPS = 40


def run_campaign(options: Namespace, folder: Path) -> dict[str, Any]:
    """One fresh campaign by the command line; its wall seconds by kind of work."""
    command = [sys.executable, "-m", "flows.cli", "run", str(options.config)]
    command += ["--no-cache", "--campaign-dir", str(folder)]
    command += [word for pair in options.overrides for word in ("--set", pair)]
    began = time.monotonic()
    lines = _stamped_lines(command, began)
    total = time.monotonic() - began
    entries = Ledger(Layout(folder).ledger).read()
    kinds = by_kind(entries)
    kinds[_ELSE] = total - sum(kinds.values())
    return {
        "seconds": total,
        "kinds": kinds,
        "else_parts": _else_parts(lines, entries, total),
        "else_share": kinds[_ELSE] / total,
        "rounds": max(entry.round for entry in entries),
        "start_seconds_by_round": start_by_round(entries),
    }


def by_kind(entries: Sequence[Entry]) -> dict[str, float]:
    """Seconds inside steps; starting a process is counted apart from what it then does."""
    kinds: defaultdict[str, float] = defaultdict(float)
    for entry in entries:
        start = float(entry.facts.get("seconds_start", 0.0))
        kinds[_START] += start
        if entry.step in _KINDS:
            kinds[_KINDS[entry.step]] += entry.seconds - start
    return dict(kinds)


def start_by_round(entries: Sequence[Entry]) -> list[float]:
    rounds: defaultdict[int, float] = defaultdict(float)
    for entry in entries:
        rounds[entry.round] += float(entry.facts.get("seconds_start", 0.0))
    return [rounds[number] for number in sorted(rounds)]


def _else_parts(
    lines: list[tuple[float, str]], entries: Sequence[Entry], total: float
) -> dict[str, float]:
    """What "everything else" consists of, from the moments at which lines were printed."""
    opened = next(at for at, line in lines if line.startswith("campaign "))
    ends = [
        at for at, line in lines if line.startswith(("base ", "round ")) and " s " in f"{line} "
    ]
    ends = ends[: len(entries)]
    first = ends[0] - entries[0].seconds
    between = sum(
        end - before - entry.seconds
        for before, end, entry in zip(ends, ends[1:], entries[1:], strict=False)
    )
    own = sum(entry.seconds for entry in entries if entry.step not in _KINDS)
    return {
        "command line to open campaign": opened,
        "Prefect server and flow start": first - opened,
        "between steps (orchestration, hashing, ledger, report)": between,
        "steps prompts, held_out, gate": own,
        "flow end, report, exit": total - ends[-1],
    }


def _stamped_lines(command: list[str], began: float) -> list[tuple[float, str]]:
    """Run `command`; its lines with the seconds since `began` at which each came."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.monotonic() - began, line.rstrip()))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return lines


def step_costs() -> dict[str, float]:
    """Milliseconds of a step that does nothing: in the store alone, and as a Prefect task.

    In a process of its own: Prefect's settings are read when it is first imported.
    """
    command = [sys.executable, "-m", "benchmarks.loop", "--noop-steps", str(_NOOP_STEPS)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _noop_steps(count: int) -> dict[str, float]:
    from rich.console import Console

    from dpo_core.campaign.artifacts import Artifact, StepResult
    from flows.config import load_config
    from flows.run import prefect_api
    from flows.session import Session
    from reporting.progress import CampaignProgress

    config = load_config(Path("configs/demo-cpu.yaml"), ["threads=1"])
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        progress = CampaignProgress(Console(file=nowhere), 1)
        session = Session.open(Path(folder), config, progress)

        def noop(session: Session, number: int) -> Artifact:
            return session.step(0, f"noop{number}", lambda folder, inputs: StepResult(), config={})

        plain = _timed(lambda number: noop(session, number), range(count))
        with prefect_api(session.layout, progress):
            tasks = _as_tasks(noop, session, range(count, 2 * count))
    return {
        "store_ms": plain[0],
        "store_cpu_ms": plain[1],
        "prefect_ms": tasks[0] - plain[0],
        "prefect_cpu_ms": tasks[1] - plain[1],
    }


def _timed(call: Callable[[int], object], numbers: Sequence[int]) -> tuple[float, float]:
    """Milliseconds of wall and of this process's CPU per call, after one that warms up."""
    call(-1 - numbers[0])
    started, cpu_started = time.monotonic(), time.process_time()
    for number in numbers:
        call(number)
    cpu, wall = time.process_time() - cpu_started, time.monotonic() - started
    return 1e3 * wall / len(numbers), 1e3 * cpu / len(numbers)


def _as_tasks(noop: Any, session: Any, numbers: Sequence[int]) -> tuple[float, float]:
    """`_timed` steps inside one flow run."""
    from prefect import flow

    from flows.prefect.runs import flush
    from flows.prefect.tasks import step

    def body() -> tuple[float, float]:
        return _timed(lambda number: step(noop)(session, number), numbers)

    found: tuple[float, float] = flow(body)()
    flush()
    return found


def measure(options: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = {"machine": machine(), **run_campaign(options, Path(folder) / "campaign")}
        if options.keep_worker_steps:
            again = Namespace(
                config=options.config,
                overrides=[*options.overrides, "sampling.keep_worker=step"],
            )
            result["keep_worker_step"] = run_campaign(again, Path(folder) / "step")
    result["step_costs"] = step_costs()
    result["holds"] = result["else_share"] < TARGET_ELSE_SHARE
    return result


def show(result: dict[str, Any]) -> None:
    total = result["seconds"]
    print(f"{result['rounds']} rounds in {total:.1f} s")
    for kind, seconds in result["kinds"].items():
        print(f"  {kind:<20} {seconds:7.1f} s  {seconds / total:6.1%}")
    for part, seconds in result["else_parts"].items():
        print(f"    {part:<56} {seconds:6.2f} s  {seconds / total:6.1%}")
    verdict = "holds" if result["holds"] else "FAILS"
    print(f"everything else below {TARGET_ELSE_SHARE:.0%} of the wall time: {verdict}")
    if costs := result.get("step_costs"):
        print(
            f"an empty step: {costs['store_ms']:.1f} ms ({costs['store_cpu_ms']:.1f} CPU-ms), as a "
            f"Prefect task {costs['prefect_ms']:.1f} ms ({costs['prefect_cpu_ms']:.1f} CPU-ms) more"
        )
    if other := result.get("keep_worker_step"):
        kept, fresh = (_start_per_round(found) for found in (result, other))
        print(
            f"starting processes per round: {kept:.1f} s with one sampling process, "
            f"{fresh:.1f} s with a new one for each step; wall {total:.1f} s and "
            f"{other['seconds']:.1f} s"
        )


def _start_per_round(result: dict[str, Any]) -> float:
    later: list[float] = result["start_seconds_by_round"][1:]  # round 0 makes the base
    return sum(later) / max(len(later), 1)


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/demo-cpu.yaml"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--keep-worker-steps",
        action="store_true",
        help="run the campaign a second time with a new sampling process for each step",
    )
    parser.add_argument(
        "--noop-steps", type=int, metavar="N", help="time N empty steps, print JSON"
    )
    add_json_option(parser)
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.noop_steps:
        print(json.dumps(_noop_steps(options.noop_steps)))
        return
    result = measure(options)
    show(result)
    write_result(result, options.json)


if __name__ == "__main__":
    main()
