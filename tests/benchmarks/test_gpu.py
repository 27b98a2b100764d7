"""The command for a GPU: a dry run without what such a machine lacks, and whatever goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import attention, page, worker
from benchmarks.gpu.checks import CHECKS, Check
from benchmarks.gpu.results import (
    Bench,
    Comparison,
    Ending,
    Failure,
    Figure,
    Line,
    Machine,
    append,
    read,
)
from dpo_core.errors import BadInput
from dpo_core.training.attention import flex_segments

ROOT = Path(__file__).parents[2]
FACTS = Machine({"run on": "cuda", "at": "2026-01-02 03:04", "device": "H", "commit": "abc"})

WITHOUT = """
import sys
from importlib.machinery import PathFinder

ABSENT = {"argilla", "choix", "crowdkit", "datasets", "prefect", "rich", "trl", "typer", "vllm"}

class Path(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)

class Forbidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "flows":
            raise ModuleNotFoundError(f"{name} is not for this machine")

sys.meta_path = [Forbidden, *(Path if f is PathFinder else f for f in sys.meta_path)]
"""
"""A sitecustomize.py: these packages are not to be found, and the orchestrator is not imported."""


def test_a_dry_run_needs_only_what_a_bare_machine_has(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    env = {name: value for name, value in os.environ.items() if name != "RATCHET_PRELOADED"}
    env["PYTHONPATH"] = os.pathsep.join((str(tmp_path), str(ROOT)))
    probe = subprocess.run([sys.executable, "-c", "import typer"], env=env, capture_output=True)
    assert probe.returncode == 1, "what is to be absent must be"
    dry = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(dry, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [results] = tmp_path.glob("*-gpu.jsonl")
    lines = read(results)
    endings = [line for line in lines if isinstance(line, Ending)]
    assert [ending.check for ending in endings] == list(CHECKS)
    assert {ending.how for ending in endings} == {"ended"}
    for name in CHECKS:
        assert any(isinstance(line, Comparison) and line.check == name for line in lines)
    text = results.with_suffix(".md").read_text()
    assert text in done.stdout and "on the CPU" in text
    assert "losses, against the plain pass" in text and "| trl | " in text


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────


GOES_WRONG = """
import os, signal, threading

def well(bench):
    bench.at_most("difference", 1.0, 2.0)

def wrong(bench):
    bench.at_most("difference", float("nan"), 2.0)

def raises(bench):
    bench.figure("before", 1.0, "s")
    with bench.trying("a part"):
        raise RuntimeError("CUDA error: device-side assert triggered\\nCompile with advice")
    bench.figure("after", 2.0, "s")

def dies(bench):
    bench.figure("at last", 3.0, "s")
    os.kill(os.getpid(), signal.SIGSEGV)

def hangs(bench):
    bench.figure("meanwhile", 4.0, "s")
    threading.Event().wait()
"""


def check(name: str, limit_s: float = 60, least_s: float = 0) -> Check:
    return Check(name, f"goes_wrong:{name}", limit_s, least_s)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above, for a process that loads no torch."""
    (tmp_path / "goes_wrong.py").write_text(GOES_WRONG)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(ROOT))))
    monkeypatch.delenv("RATCHET_PRELOADED", raising=False)


def run(tmp_path: Path, checks: dict[str, Check], left_s: float = 600) -> list[Line]:
    results = tmp_path / "results.jsonl"
    append(results, FACTS)
    with command.Workers("cpu", tmp_path) as workers:
        for name, one in checks.items():
            append(results, command.run_check(workers, name, one, results, left_s))
    return read(results)


@pytest.mark.usefixtures("modules")
def test_what_goes_wrong_ends_its_own_check_alone(tmp_path: Path) -> None:
    names = ["well", "wrong", "raises", "dies", "hangs"]
    checks = {name: check(name, limit_s=1 if name == "hangs" else 60) for name in names}
    lines = run(tmp_path, {**checks, "again": check("well")})
    endings = {line.check: line.how for line in lines if isinstance(line, Ending)}
    assert endings == {**dict.fromkeys([*names, "again"], "ended"), "hangs": "timed out"}
    told = [line.what for line in lines if isinstance(line, Figure)]
    assert told == ["before", "after", "at last", "meanwhile"]
    raised, died, hung = (line for line in lines if isinstance(line, Failure))
    assert raised.error == "RuntimeError: CUDA error: device-side assert triggered"
    assert "in raises" in raised.trace and str(ROOT) not in raised.trace
    assert 'File "benchmarks/gpu/results.py"' in raised.trace
    assert "SIGSEGV" in died.error and "in dies" in died.trace
    assert "in hangs" in hung.trace
    assert page.failed(lines)
    text = page.page(lines, "results.jsonl")
    assert "- **wrong: difference**: nan is more than 2" in text
    assert "- **raises: a part**: `RuntimeError: CUDA error: device-side assert triggered`" in text
    assert "- **dies: its process**: `the child process" in text
    assert "- **hangs: its limit**: `did not end within 1 s`" in text
    assert "1 of 3" not in text and "2 of 3 comparisons hold" in text


@pytest.mark.usefixtures("modules")
def test_the_time_limit_fails_nothing_and_says_what_was_not_reached(tmp_path: Path) -> None:
    lines = run(tmp_path, {"hangs": check("hangs"), "well": check("well", least_s=20)}, left_s=0.5)
    assert [line.how for line in lines if isinstance(line, Ending)] == ["cut off", "not reached"]
    assert not page.failed(lines)
    text = page.page(lines, "results.jsonl")
    assert "## Not reached\n\n- hangs: the time was up" in text and "\n- well\n" in text
    assert "| meanwhile | 4 s |" in text


def test_a_run_that_was_killed_leaves_what_it_had(tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    had: list[Line] = [FACTS, Figure("lora", "speed", 3.0, "pairs/s")]
    for line in had:
        append(results, line)
    with results.open("a") as file:
        file.write('{"Figure": {"check": "a", "wh')
    assert read(results) == had
    text = page.write_page(results).read_text()
    assert "| speed | 3 pairs/s |" in text and "- lora: the run ended within it" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_what_to_do_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as error:
        worker.facts("cuda")
    assert "CUDA" in error.value.message or "no NVIDIA GPU" in error.value.message
    assert "--device cpu" in error.value.remedy


def test_unknown_checks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--only", "attention,none"])
    assert "unknown: none; known: attention, fast_pass" in capsys.readouterr().err


# ── what the checks compare with ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("window", [None, 4])
def test_what_tokens_see_is_what_the_kernel_for_gpus_is_told(window: int | None) -> None:
    sees = flex_segments.visibility(attention.SEGMENTS, window, torch.device("cpu"))
    tokens = attention.SEGMENTS[-1].end
    found = create_mask(sees, None, None, tokens, tokens, device="cpu")[0, 0]
    assert torch.equal(found, attention.visible(attention.SEGMENTS, window))


def test_wrong_attention_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a rejected completion saw its rival."""
    seen = attention.visible

    def rival_seen(*arguments: object) -> torch.Tensor:
        return seen(*arguments).logical_or(torch.ones(37, 37, dtype=torch.bool).tril())  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "visible", rival_seen)
    bench = Bench("attention", "cpu", tmp_path / "results.jsonl", tmp_path)
    attention.attention(bench)
    lines = [line for line in read(bench.results) if isinstance(line, Comparison)]
    compared = [line for line in lines if "values" in line.what or "gradients" in line.what]
    assert len(compared) == 12 and not any(line.holds for line in compared)
