"""AdamW's state carried from round to round is one AdamW that never stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from dpo_core.errors import BadInput
from dpo_core.training.jobs import DpoJob
from dpo_core.training.objective import StepObjective
from dpo_core.training.optimiser import Schedule, learning_rate_factor, make_optimiser
from dpo_core.training.optimiser_state import load_optimiser_state, save_optimiser_state
from dpo_core.training.pairs.batching import optimiser_steps
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, load_master
from dpo_core.training.trainer import train_round

from .conftest import build_tiny, sentiment

MakeJob = Callable[..., DpoJob]
CPU = Runtime(torch.device("cpu"), torch.float32)
OPTIONS = {"path": "plain", "epochs": 2, "weight_decay": 0.01, "pairs_per_step": 8}


def quiet(done: int, total: int, unit: str) -> None:
    pass


def two_rounds(make_job: MakeJob, *, carried: bool) -> tuple[DpoJob, DpoJob]:
    first = make_job("first", *sentiment(20), **OPTIONS)
    state = first.out_dir.parent / "optimiser" / "state.safetensors"
    first = first.model_copy(update={"optimiser_to": state})
    train_round(first, quiet)
    second = make_job("second", *sentiment(13), seed=2, policy_dir=first.out_dir, **OPTIONS)
    if carried:
        second = second.model_copy(update={"optimiser_from": state})
    train_round(second, quiet)
    return first, second


def by_hand(first: DpoJob, second: DpoJob) -> dict[str, Tensor]:
    """Both rounds in one process with one AdamW, each with the reference of its start."""
    model = load_master(first.policy_dir, CPU.device)
    optimiser = make_optimiser(model.parameters(), first.config.learning_rate, 0.01)
    path = PlainPath(model, CPU)
    for job in (first, second):
        pairs = load_pairs(job.preferences, job.completions)
        reference = {
            pair.pair_id: (
                float(path.logps([pair]).logps_N[: len(pair.chosen_ids)].sum()),
                float(path.logps([pair]).logps_N[len(pair.chosen_ids) :].sum()),
            )
            for pair in pairs
        }
        for epoch in range(2):
            for step in optimiser_steps(pairs, 8, job.seed, epoch):
                path.backward(step, StepObjective(step, reference, job.config).slopes)
                clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
    return dict(model.state_dict())


def largest_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    return max(float((found[name] - expected[name]).abs().max()) for name in found)


def test_a_weight_without_gradients_is_carried_as_it_began(tmp_path: Path) -> None:
    """An expert that no token was sent to has no state in AdamW, and gets one when it is."""
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    first = make_optimiser(model.parameters(), 1e-3, 0.0)
    model["used"](torch.ones(1, 2)).sum().backward()
    first.step()
    first.zero_grad()
    save_optimiser_state(model, first, tmp_path / "state.safetensors")
    second = make_optimiser(model.parameters(), 1e-3, 0.0)
    load_optimiser_state(model, second, tmp_path / "state.safetensors")
    used, idle = (second.state[model[name].weight] for name in ("used", "idle"))
    assert (float(used["step"]), float(idle["step"])) == (1, 0)
    assert used["exp_avg"].any() and not idle["exp_avg"].any()


def test_two_rounds_are_one_optimiser(make_job: MakeJob) -> None:
    first, second = two_rounds(make_job, carried=True)
    found = load_file(second.out_dir / "model.safetensors")
    # 11 steps of at most 1e-3 each; a fresh AdamW would take other ones (the next test).
    assert largest_difference(found, by_hand(first, second)) < 1e-5
    state = load_file(first.out_dir.parent / "optimiser" / "state.safetensors")
    steps = [float(value) for name, value in state.items() if name.endswith(".step")]
    assert set(steps) == {2 * 3} and len(state) == 3 * len(found)


def test_a_fresh_optimiser_is_another(make_job: MakeJob) -> None:
    first, second = two_rounds(make_job, carried=False)
    found = load_file(second.out_dir / "model.safetensors")
    assert largest_difference(found, by_hand(first, second)) > 1e-4


def test_state_of_another_model_is_refused(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job("small", *sentiment(8))
    state = tmp_path / "state.safetensors"
    train_round(job.model_copy(update={"optimiser_to": state}), quiet)
    build_tiny(tmp_path / "wider", seed=0, hidden=64)
    wider = make_job("wide", *sentiment(8), policy_dir=tmp_path / "wider")
    with pytest.raises(BadInput, match="optimiser_state: fresh"):
        train_round(wider.model_copy(update={"optimiser_from": state}), quiet)


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 3 / 4, 2 / 4, 1 / 4]),
        # (1 + cos(π·k/4)) / 2 with cos(π/4) = √½
        ("cosine", [1, (1 + 0.5**0.5) / 2, 1 / 2, (1 - 0.5**0.5) / 2]),
    ],
)
def test_schedules_after_a_warm_up(schedule: Schedule, expected: list[float]) -> None:
    factors = [
        learning_rate_factor(step, 7, warmup_steps=3, schedule=schedule) for step in range(7)
    ]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[3:] == pytest.approx(expected)
