"""A round that is killed or stopped in the middle of training ends as if nothing had happened."""

import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_core.children import Child
from dpo_core.errors import BadInput, ChildDied, Interrupted, InvariantViolated
from dpo_core.hashing import policy_id
from dpo_core.schemas import volatile_columns
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.metrics.curves import DPO_CURVE
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.trainer import train_round

from ..conftest import sentiment

MakeJob = Callable[..., DpoJob]
PAIRS = 40
MANY_STEPS = {"pairs_per_step": 1, "epochs": 2, "loss": "ipo", "warmup_steps": 5}


def quiet(done: int, total: int, unit: str) -> None:
    pass


def keeping(job: DpoJob, **config: Any) -> DpoJob:
    """The job with a folder for checkpoints and other keys in its config."""
    changed = job.config.model_copy(update=config)
    checkpoints = job.curve_path.parent / "checkpoints"
    return job.model_copy(update={"checkpoints": checkpoints, "config": changed})


def kept(job: DpoJob) -> list[str]:
    assert job.checkpoints is not None
    return sorted(path.name for path in job.checkpoints.iterdir())


def curve(job: DpoJob) -> list[dict[str, Any]]:
    names = [name for name in DPO_CURVE.names if name not in volatile_columns(DPO_CURVE)]
    return read_rows(job.curve_path, names)


def at_step(number: int, act: Callable[[], None]) -> Callable[[int, int, str], None]:
    """A report that acts once, when so many optimiser steps are done."""

    def report(done: int, total: int, unit: str) -> None:
        if unit == "steps" and done == number:
            act()

    return report


def worker(tmp_path: Path) -> Child:
    env = {"PYTHONPATH": str(Path(__file__).parents[4])}
    return Child.start("dpo_core.training.train_worker", tmp_path / "train.log", env)


def test_a_killed_round_ends_with_the_weights_of_one_that_was_not(
    make_job: MakeJob, tmp_path: Path
) -> None:
    whole = make_job("whole", *sentiment(PAIRS), **MANY_STEPS)
    expected = train_round(whole, quiet)
    job = keeping(make_job("killed", *sentiment(PAIRS), **MANY_STEPS), checkpoint_every=7)
    with worker(tmp_path) as child, pytest.raises(ChildDied, match="SIGKILL"):
        child.carry_out(job, report=at_step(30, lambda: os.kill(child.process.pid, signal.SIGKILL)))
    assert not job.out_dir.exists()

    with worker(tmp_path) as child:
        result = child.carry_out(job)
    assert result.resumed_from_step >= 28 and result.resumed_from_step % 7 == 0
    assert result.policy == expected.policy
    assert curve(job) == curve(whole)
    assert read_rows(job.reference_logps_path) == read_rows(whole.reference_logps_path)
    for name in ("loss", "accuracy", "margin", "first_loss", "first_margin_max", "steps"):
        assert getattr(result, name) == getattr(expected, name)
    assert job.checkpoints is not None and not job.checkpoints.exists()


def test_sigterm_saves_what_is_done_and_says_how_to_go_on(make_job: MakeJob) -> None:
    whole = make_job("whole", *sentiment(PAIRS), **MANY_STEPS)
    job = keeping(make_job("stopped", *sentiment(PAIRS), **MANY_STEPS))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"after 11 of 80 steps(.|\n)*same `ratchet run`"):
        train_round(job, at_step(11, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert signal.getsignal(signal.SIGTERM) == before
    assert kept(job) == ["step-00000011"]
    assert train_round(job, quiet).policy == train_round(whole, quiet).policy
    assert curve(job) == curve(whole)


def test_the_orchestrator_has_the_child_save_before_it_ends_it(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = keeping(make_job("stopped", *sentiment(PAIRS), **MANY_STEPS))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with worker(tmp_path) as child:
        with pytest.raises(KeyboardInterrupt):
            child.carry_out(job, report=at_step(5, interrupt))
        child.stop()
        assert child.alive()
    [name] = kept(job)
    assert int(name.removeprefix("step-")) >= 5


def test_a_short_round_writes_no_checkpoint(make_job: MakeJob) -> None:
    job = keeping(make_job("short", *sentiment(8), pairs_per_step=2))
    seen: list[bool] = []
    train_round(
        job, lambda *_: seen.append(job.checkpoints is not None and job.checkpoints.exists())
    )
    assert seen and not any(seen)


def test_what_a_kill_left_half_written_is_no_checkpoint(make_job: MakeJob) -> None:
    job = keeping(make_job("half", *sentiment(8)), checkpoint_every=1)
    assert job.checkpoints is not None
    (job.checkpoints / ".unfinished").mkdir(parents=True)
    (job.checkpoints / ".unfinished" / "progress.json").write_text("{")
    assert train_round(job, quiet).resumed_from_step == 0


def test_a_checkpoint_of_another_round_is_refused(make_job: MakeJob) -> None:
    job = keeping(make_job("one", *sentiment(PAIRS), **MANY_STEPS))
    with pytest.raises(Interrupted):
        train_round(job, at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    # What moves no number may change between two runs; what the weights depend on may not.
    other = job.config.model_copy(update={"beta": 0.3, "micro_batch_tokens": 100})
    with pytest.raises(BadInput, match=r"another round(.|\n)*rm -r"):
        train_round(job.model_copy(update={"config": other}), quiet)
    same = job.config.model_copy(update={"micro_batch_tokens": 100, "checkpoint_every": 50})
    assert train_round(job.model_copy(update={"config": same}), quiet).resumed_from_step == 3


def test_a_checkpoint_that_finds_no_room_says_so_and_leaves_the_last_one(make_job: MakeJob) -> None:
    whole = make_job("whole", *sentiment(PAIRS), **MANY_STEPS)
    job = keeping(make_job("full", *sentiment(PAIRS), **MANY_STEPS), checkpoint_every=10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, before[1]))

    try:
        with pytest.raises(OSError, match="No space left"):
            train_round(job, at_step(15, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert kept(job) == ["step-00000010"]
    assert train_round(job, quiet).policy == train_round(whole, quiet).policy


def test_numbers_that_are_not_finite_keep_the_last_checkpoint_that_gave_finite_ones(
    make_job: MakeJob, tiny: Path
) -> None:
    # The learning rate rises until weights overflow: step 4 finds what step 3 has broken.
    wild = {"learning_rate": 1e8, "warmup_steps": 10, "pairs_per_step": 2, "checkpoint_every": 1}
    job = keeping(make_job("wild", *sentiment(PAIRS)), **wild)
    before = policy_id(tiny)
    with pytest.raises(InvariantViolated) as error:
        train_round(job, quiet)
    [step] = re.findall(r"of optimiser step (\d+) is not finite", error.value.message)
    assert int(step) >= 3 and "learning rate" in error.value.message
    pairs = {pair.pair_id for pair in load_pairs(job.preferences, job.completions)}
    assert any(pair in error.value.message for pair in pairs)
    # Not the weights before the bad step, which made its numbers: those before them.
    assert kept(job) == [f"step-{int(step) - 2:08d}"]
    assert not job.out_dir.exists() and policy_id(tiny) == before
