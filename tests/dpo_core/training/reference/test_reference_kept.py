"""References: two processes make them together, a killed round keeps them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_core.children import Child
from dpo_core.errors import Interrupted
from dpo_core.hashing import policy_id
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.reference import reference_logps as reference_module
from dpo_core.training.trainer import train_round

from ..conftest import build_tiny, sentiment, with_logps_of

MakeJob = Callable[..., DpoJob]
CONFIGS: dict[str, dict[str, Any]] = {
    "base": {"reference": "base"},
    "from sampling": {"reference_logps": "from_sampling"},
    "none": {"loss": "simpo", "beta": 2.0},
}
PAIRS = 17


def quiet(done: int, total: int, unit: str) -> None:
    pass


@pytest.fixture(params=CONFIGS)
def job(
    request: pytest.FixtureRequest, make_job: MakeJob, tiny: Path, tmp_path: Path
) -> Callable[..., DpoJob]:
    """job(name, **changes) -> a round with one of CONFIGS, with checkpoints and a cache."""
    build_tiny(tmp_path / "other", seed=7)
    completions, preferences = sentiment(PAIRS)
    completions = with_logps_of(tiny, completions)
    config = CONFIGS[request.param]

    def make(name: str, **changes: Any) -> DpoJob:
        made = make_job(name, completions, preferences, pairs_per_step=4, **config, **changes)
        update: dict[str, Any] = {"checkpoints": made.curve_path.parent / "checkpoints"}
        if "reference" in config:
            update["reference_dir"] = tmp_path / "other"
        return made.model_copy(update=update)

    return make


def test_a_killed_round_keeps_its_reference(
    job: Callable[..., DpoJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train_round(job("whole", epochs=3), quiet)
    stopped = job("stopped", epochs=3)

    def stop(done: int, total: int, unit: str) -> None:
        if (done, unit) == (7, "steps"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_round(stopped, stop)
    for name in ("load_frozen", "reference_pass"):  # nothing is asked again
        monkeypatch.delattr(reference_module, name)
    result = train_round(stopped, quiet)
    assert result.resumed_from_step == 7
    again = {"resumed_from_step", "peak_memory_gib", "mfu", "peak_flops"}
    for name, value in expected:
        if name not in again and not name.startswith("seconds") and "per_second" not in name:
            assert getattr(result, name) == value, name


def test_two_processes_share_a_reference(job: Callable[..., DpoJob], tmp_path: Path) -> None:
    alone, together = job("alone"), job("together")
    together = together.model_copy(
        update={
            "cache_dir": tmp_path / "cache",
            "config": together.config.model_copy(update={"processes": 2}),
        }
    )
    expected = train_round(alone, quiet)
    env = {"PYTHONPATH": str(Path(__file__).parents[4]), "OMP_NUM_THREADS": "1"}
    with Child.start("dpo_core.training.train_worker", tmp_path / "train.log", env) as child:
        found = child.carry_out(together)
        cached = child.carry_out(together) if together.config.reference == "base" else None
    assert found.processes == 2
    for name in ("loss", "first_loss", "margin", "sampling_gap", "reference_policy"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if isinstance(theirs, float):
            assert ours == pytest.approx(theirs, abs=1e-5), name
        else:
            assert ours == theirs, name
    ours, theirs = (read_rows(each.reference_logps_path) for each in (together, alone))
    assert len(ours) == len(theirs) == (PAIRS if together.config.has_reference else 0)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["chosen"] == pytest.approx(other["chosen"], abs=1e-5)
    assert found.policy == policy_id(together.out_dir)
    if cached is not None:  # only log-probs of a lasting reference are kept
        assert cached.policy == found.policy and cached.reference_source == "cache"
