"""The training process, driven as the orchestrator drives it."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from dpo_core.children import Child
from dpo_core.errors import BadInput, RatchetError
from dpo_core.hashing import policy_id
from dpo_core.training.jobs import BaseJob, DpoJob

from .conftest import sentiment


def test_base_then_round_in_one_process(
    make_job: Callable[..., DpoJob], tiny: Path, tmp_path: Path
) -> None:
    base = BaseJob(model=str(tiny), out_dir=tmp_path / "base", curve_path=tmp_path / "sft.parquet")
    seen: list[tuple[int, int, str]] = []
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    with Child.start("dpo_core.training.train_worker", tmp_path / "train.log", env) as child:
        made = child.carry_out(base)
        assert made.policy == policy_id(base.out_dir)

        job = make_job("round", *sentiment(8), policy_dir=base.out_dir)
        result = child.carry_out(
            job, report=lambda done, total, unit: seen.append((done, total, unit))
        )
        assert result.reference_policy == made.policy
        assert result.first_loss == pytest.approx(math.log(2), abs=1e-5)
        assert seen[-1] == (1, 1, "steps")

        empty = make_job("empty", sentiment(1)[0], [])
        with pytest.raises(RatchetError, match=r"no preferences(.|\n)*pairs.min_margin"):
            child.carry_out(empty)
        assert child.alive()


def test_a_request_that_there_is_not(tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    with (
        Child.start("dpo_core.training.train_worker", tmp_path / "train.log", env) as child,
        pytest.raises(BadInput, match="knows no job 'dance'"),
    ):
        child.ask({"root": "/", "job": {"op": "dance"}})
