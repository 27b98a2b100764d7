"""The long evidence: `make proof`, or `python -m benchmarks.proof [--only demo,pool] [--out FILE]`.

Runs the demo with three seeds, GSM8K, every kill point, the benchmarks and the experiments of
docs/experiments, and writes a dated page with the figures and whether each check holds. A check
that fails is written as failed, and the exit code is then 1.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.measure import machine, names_among

ROOT = Path(__file__).parents[1]
DEMO_SECONDS = 240.0
DEMO_FINAL_WIN_RATE = 0.75
DEMO_FINAL_LOW = 0.68
DEMO_ACCEPTED_POINTS = 0.02
DEMO_TEST_PROMPTS = 256
GSM8K_DIR = "RATCHET_GSM8K_DIR"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    what: str
    holds: bool
    found: str


@dataclass
class Part:
    """One section of the page."""

    title: str
    command: str
    lines: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def check(self, what: str, holds: bool, found: str) -> None:
        self.checks.append(Check(what, bool(holds), found))


# ── the demo ─────────────────────────────────────────────────────────────────────────────────────


def demo(options: Namespace, folder: Path) -> Part:
    """The demo with each seed: win rates rise, fluency holds, minutes are few."""
    part = Part("Demo", "ratchet run configs/demo-cpu.yaml --set seed=N")
    part.lines += _table_head(
        "seed", "round", "win rate vs base", "accepted", "KL to base", "round s"
    )
    for seed in options.seeds:
        campaign = folder / f"demo-{seed}"
        seconds = _campaign("demo-cpu", campaign, [f"seed={seed}", *options.demo_set])
        rows = _rounds(campaign)
        part.lines += [_demo_line(seed, row) for row in rows]
        check_demo(part, seed, rows, seconds)
    return part


def _demo_line(seed: int, row: Row) -> str:
    return (
        f"| {seed} | {row['round']} | {_interval(row, 'win_rate_base')} | {_accepted(row):.3f} | "
        f"{row['kl_base_nats']:.3f} | {row['seconds_round']:.1f} |"
    )


def check_demo(part: Part, seed: int, rows: Sequence[Row], seconds: float) -> None:
    rates = [row["win_rate_base"] for row in rows]
    last = rows[-1]
    fall = last["measure_accepted_base"] - min(map(_accepted, rows))
    shown = " → ".join(f"{rate:.3f}" for rate in rates)
    rising = all(a < b for a, b in pairwise([0.5, *rates]))
    part.check(f"seed {seed}: win rate against the base rises every round", rising, shown)
    part.check(
        f"seed {seed}: it ends at {DEMO_FINAL_WIN_RATE} or more",
        rates[-1] >= DEMO_FINAL_WIN_RATE,
        f"{rates[-1]:.3f}",
    )
    low = last["win_rate_base_low"]
    part.check(
        f"seed {seed}: its interval lies above {DEMO_FINAL_LOW}", low > DEMO_FINAL_LOW, f"{low:.3f}"
    )
    prompts = last["test_prompts"]
    part.check(
        f"seed {seed}: on {DEMO_TEST_PROMPTS} test prompts or more",
        prompts >= DEMO_TEST_PROMPTS,
        str(prompts),
    )
    part.check(
        f"seed {seed}: accepted share at most 2 points below the base in every round",
        fall <= DEMO_ACCEPTED_POINTS,
        f"{100 * fall:+.1f} points below",
    )
    part.check(
        f"seed {seed}: at most {DEMO_SECONDS / 60:.0f} minutes",
        seconds <= DEMO_SECONDS,
        f"{seconds:.0f} s wall",
    )


def _accepted(row: Row) -> float:
    return float(row["measure_accepted"])


# ── GSM8K ────────────────────────────────────────────────────────────────────────────────────────


def gsm8k(options: Namespace, folder: Path) -> Part:
    """Two rounds with the verifiable judge: the share of right annotations rises."""
    part = Part("GSM8K", "ratchet run configs/gsm8k-cpu.yaml --set data_dir=FOLDER")
    data = options.gsm8k_dir
    if data is None or not (data / "train.jsonl").exists():
        part.check("GSM8K's train.jsonl is there", False, f"give --gsm8k-dir or {GSM8K_DIR}")
        return part
    campaign = folder / "gsm8k"
    seconds = _campaign("gsm8k-cpu", campaign, [f"data_dir={data}", *options.gsm8k_set])
    rows = _rounds(campaign)
    shares = [
        rows[0]["measure_annotations_right_base"],
        *(row["measure_annotations_right"] for row in rows),
    ]
    part.lines += _table_head("policy", "annotations right", "win rate vs base")
    part.lines.append(f"| base | {shares[0]:.2%} | |")
    part.lines += [
        f"| round {row['round']} | {share:.2%} | {_interval(row, 'win_rate_base')} |"
        for row, share in zip(rows, shares[1:], strict=True)
    ]
    shown = " → ".join(f"{share:.2%}" for share in shares)
    rising = all(a < b for a, b in pairwise(shares))
    part.check("the share of right annotations rises from the base over the rounds", rising, shown)
    part.lines.append(f"\n{seconds:.0f} s wall.")
    return part


# ── kill points and benchmarks ───────────────────────────────────────────────────────────────────


def kills(options: Namespace, folder: Path) -> Part:
    """The tests marked `proof`: every kill point."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "proof", *options.pytest_args.split()]
    part = Part("Kill points", "pytest -m proof")
    env = os.environ | ({GSM8K_DIR: str(options.gsm8k_dir)} if options.gsm8k_dir else {})
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, env=env
    )
    tail = done.stdout.strip().splitlines()[-1:] or ["no output"]
    part.check("all tests marked proof pass", done.returncode == 0, tail[0].strip("= "))
    return part


def survival(options: Namespace, folder: Path) -> Part:
    """A campaign with every kind of step under every kind of fault, three times each."""
    page = folder / "survival.md"
    words = ["--append", str(page), *options.survival_args.split()]
    part = Part(
        "Survival", " ".join(["python -m benchmarks.survival", *options.survival_args.split()])
    )
    command = [sys.executable, "-m", "benchmarks.survival", *words]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
    text = page.read_text(encoding="utf-8")
    part.lines += [line for line in text.splitlines() if line.startswith(("## ", "- ", "| "))]
    found = next(line for line in part.lines if line.startswith("## "))
    part.check("every campaign ends as the undisturbed one", done.returncode == 0, found[3:])
    return part


def sampling(options: Namespace, folder: Path) -> Part:
    from benchmarks.sampling import TARGET_SHARE

    part, result = _benchmark("sampling", options.sampling_args, folder)
    for row in result["throughput"]:
        part.check(
            f"{row['prompts']:,} prompts: at least {TARGET_SHARE:.0%} of raw vLLM's tokens/s",
            row["holds"],
            f"{row['share_of_raw']:.1%} by wall, {row['cpu_share_of_raw']:.1%} by CPU-seconds",
        )
        what = f"{row['prompts']:,} prompts: the tokens are raw vLLM's"
        part.check(what, row["same_tokens"], str(row["same_tokens"]))
    if peaks := [f"{row['peak_memory_mib']:,.0f}" for row in result["memory"]]:
        found = " → ".join(peaks) + f" MiB, {result['memory_growth']:+.1%}"
        part.check("memory does not grow with the prompts", result["memory_holds"], found)
    return part


def pool(options: Namespace, folder: Path) -> Part:
    part, result = _benchmark("pool", options.pool_args, folder)
    last = result["pools"][-1]
    found = (
        f"{last['cpu_seconds']:.2f} CPU-s for {last['rows']:,}, {last['peak_memory_mib']:.0f} MiB"
    )
    part.check(
        "starting a round on a large pool takes seconds and flat memory", result["holds"], found
    )
    return part


def loop(options: Namespace, folder: Path) -> Part:
    part, result = _benchmark("loop", options.loop_args, folder)
    what = "everything but starts, warm start, sampling, judging, training, evaluating below 10 %"
    part.check(what, result["holds"], f"{result['else_share']:.1%}")
    return part


def frontier(options: Namespace, folder: Path) -> Part:
    """The experiment page docs/experiments/demo-frontier.md, every arm with each seed."""
    words = ["--seeds", *map(str, options.seeds), *options.frontier_args.split()]
    part = Part("The demo's frontier", " ".join(["python -m benchmarks.frontier", *words]))
    command = [sys.executable, "-m", "benchmarks.frontier"]
    command += ["--folder", str(folder / "frontier"), *words]
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    files = (folder / "frontier" / "results").glob("*.json")
    results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    failed = [f"{r['arm']} {r['seed']}: {r['failed']}" for r in results if r["failed"]]
    part.check("every arm runs to its end", not failed, "; ".join(failed) or f"{len(results)} runs")
    return part


def real(options: Namespace, folder: Path) -> Part:
    """The experiment page docs/experiments/smollm2.md, each of its seeds."""
    from benchmarks.real.__main__ import parse as parse_real
    from benchmarks.real.demands import DEMANDS
    from benchmarks.real.page import SEEDS
    from benchmarks.real.results import read_results

    words = options.real_args.split()
    part = Part("A real model", " ".join(["python -m benchmarks.real --seed N", *words]))
    for seed in SEEDS:
        command = [sys.executable, "-m", "benchmarks.real", "--seed", str(seed)]
        command += ["--folder", str(folder / f"real-{seed}"), *words]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    results = [r for r in read_results(parse_real(words).results) if r.arm == "rounds"]
    for demand in DEMANDS:
        pooled = demand.measure(results) if demand.pooled else None
        each = [pooled] if demand.pooled else [demand.of(result) for result in results]
        shown = "; ".join(one.value for one in each if one) or "not measured"
        part.check(demand.what, demand.verdict(results, SEEDS) == "yes", shown)
    return part


def _benchmark(name: str, arguments: str, folder: Path) -> tuple[Part, dict[str, Any]]:
    """Run one benchmark in a process of its own; its printed lines and its figures."""
    written = folder / f"{name}.json"
    words = arguments.split()
    command = [sys.executable, "-m", f"benchmarks.{name}", *words, "--json", str(written)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    part = Part(f"Benchmark: {name}", " ".join(["python -m", f"benchmarks.{name}", *words]))
    part.lines += ["```text", done.stdout.rstrip(), "```"]
    result: dict[str, Any] = json.loads(written.read_text())
    return part, result


PARTS: dict[str, Callable[[Namespace, Path], Part]] = {
    "demo": demo,
    "gsm8k": gsm8k,
    "kills": kills,
    "survival": survival,
    "sampling": sampling,
    "pool": pool,
    "loop": loop,
    "frontier": frontier,
    "real": real,
}


# ── campaigns ────────────────────────────────────────────────────────────────────────────────────


def _campaign(config: str, folder: Path, overrides: Sequence[str]) -> float:
    """Run a campaign by the command line; its wall seconds."""
    command = [sys.executable, "-m", "flows.cli", "run", f"configs/{config}.yaml"]
    command += ["--no-cache", "--campaign-dir", str(folder)]
    command += [word for pair in overrides for word in ("--set", pair)]
    started = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return time.monotonic() - started


def _rounds(folder: Path) -> list[dict[str, Any]]:
    """The rounds as `ratchet status --json` tells them."""
    command = [sys.executable, "-m", "flows.cli", "status", str(folder), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    rounds: list[dict[str, Any]] = json.loads(done.stdout)["rounds"]
    return rounds


def _interval(row: Row, name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _table_head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────


def page(parts: Sequence[Part], facts: Mapping[str, Any], command: str, date: str) -> str:
    """The dated page in Markdown."""
    failed = [check for part in parts for check in part.checks if not check.holds]
    total = sum(len(part.checks) for part in parts)
    lines = [
        f"# Proof, {date}",
        "",
        f"`{command}`: {total - len(failed)} of {total} checks hold.",
        "",
    ]
    lines += [f"- **failed**: {check.what}: {check.found}" for check in failed]
    lines += ["", *_table_head("machine", "")]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    for part in parts:
        lines += ["", f"## {part.title}", "", f"`{part.command}`", "", *part.lines, ""]
        lines += _table_head("check", "found", "")
        lines += [f"| {c.what} | {c.found} | {_verdict(c)} |" for c in part.checks]
    return "\n".join(lines) + "\n"


def _verdict(check: Check) -> str:
    return "holds" if check.holds else "**failed**"


def run_part(name: str, options: Namespace, folder: Path) -> Part:
    """A part that breaks is a failed check of the page, and the other parts still run."""
    started = time.monotonic()
    try:
        part = PARTS[name](options, folder)
    except subprocess.CalledProcessError as error:
        part = Part(name, " ".join(map(str, error.cmd)))
        part.check("it ran to its end", False, f"exit code {error.returncode}")
    part.lines.append(f"\nThis part took {time.monotonic() - started:.0f} s.")
    return part


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.proof", description=__doc__)
    parser.add_argument(
        "--only", type=names_among(PARTS), default=list(PARTS), metavar="A,B", help=", ".join(PARTS)
    )
    parser.add_argument("--out", type=Path, help="default: benchmarks/YYYY-MM-DD-proof.md")
    default = Path(os.environ[GSM8K_DIR]) if GSM8K_DIR in os.environ else None
    parser.add_argument("--gsm8k-dir", type=Path, default=default, help=f"or {GSM8K_DIR}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    overrides: dict[str, Any] = {"action": "append", "default": [], "metavar": "KEY=VALUE"}
    parser.add_argument("--demo-set", **overrides)
    parser.add_argument("--gsm8k-set", **overrides)
    for name in ("sampling", "pool", "loop", "frontier", "real", "survival", "pytest"):
        parser.add_argument(f"--{name}-args", default="", help=f"further words for {name}")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    date = datetime.now(UTC).date().isoformat()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        parts = [run_part(name, options, Path(folder)) for name in options.only]
    command = " ".join(["python -m benchmarks.proof", *sys.argv[1:]])
    out = options.out or Path(__file__).parent / f"{date}-proof.md"
    out.write_text(page(parts, facts, command, date), encoding="utf-8")
    print(out)
    sys.exit(not all(check.holds for part in parts for check in part.checks))


if __name__ == "__main__":
    main()
