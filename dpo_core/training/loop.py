"""The optimiser steps of one DPO round."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from dpo_core.loss_options import traits_of
from dpo_core.training.checks import MARGIN_TOLERANCE, check_finite, check_first_step
from dpo_core.training.objective import (
    PairMeasurements,
    ReferenceLogps,
    SlopesByPair,
    StepObjective,
    join_measurements,
)
from dpo_core.training.optimiser import learning_rate_factor, set_learning_rate
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes.pass_over_pairs import Slopes, TokenLogps
from dpo_core.training.processes.sharded import gather_tensor
from dpo_core.training.round import Round


@dataclass(frozen=True)
class Step:
    """One optimiser step, counted from 1, with measurements from before its update.

    gradient_norm: before clipping. seconds: wall-clock time.
    """

    number: int
    epoch: int
    measured: PairMeasurements
    learning_rate: float
    gradient_norm: float
    seconds: float


def train(
    round: Round,
    pairs: Sequence[TrainingPair],
    reference: ReferenceLogps | None,
    optimiser: torch.optim.Optimizer,
    between: Callable[[int, int], None],
    done: int = 0,
    *,
    starts_at_reference: bool,
) -> Iterator[Step]:
    """Train the round's model: yields after each optimiser step.

    done: steps of an earlier process, which are skipped. between: called as between(done, steps)
    before each update, once the next step's loss and gradients show that the weights are finite.
    starts_at_reference: whether policy and reference have the same weights before the first step.
    Raises InvariantViolated as `checks` do, before the step's update.
    """
    config = round.config
    number = 0
    for epoch in range(config.epochs):
        for step in round.steps_of_epoch(pairs, epoch):
            number += 1
            if number <= done:
                continue
            started = time.monotonic()
            rate = config.learning_rate * learning_rate_factor(
                number - 1,
                round.steps(pairs),
                warmup_steps=config.warmup_steps,
                schedule=config.schedule,
            )
            at_reference = starts_at_reference and number == 1
            measured, norm = _gradients(round, step, reference, at_reference=at_reference)
            check_finite(measured, norm, number, rate, config.loss)
            between(number - 1, round.steps(pairs))
            _update(optimiser, rate)
            round.report(number, round.steps(pairs), "steps")
            yield Step(number, epoch, measured, rate, norm, time.monotonic() - started)


def _gradients(
    round: Round,
    step: Sequence[TrainingPair],
    reference: ReferenceLogps | None,
    *,
    at_reference: bool,
) -> tuple[PairMeasurements, float]:
    """Compute the step's clipped gradients: (measurements, gradient norm before clipping)."""
    objective = StepObjective(step, reference, round.config)
    _add_gradients(round, step, objective)
    measured = _gather_measurements(round, step, objective)
    if at_reference:
        tolerance = MARGIN_TOLERANCE[round.runtime.compute_dtype]
        check_first_step(measured, objective.losses, tolerance)
    norm = clip_grad_norm_(round.model.parameters(), round.config.max_grad_norm)
    return measured, gather_tensor(norm).item()


def _add_gradients(round: Round, step: Sequence[TrainingPair], objective: StepObjective) -> None:
    """Add the gradient of one optimiser step's loss to the model's."""
    whole_step = traits_of(round.config.loss).whole_step
    slopes = _whole_step_slopes(round, step, objective) if whole_step else objective.slopes
    for batch in round.micro_batches(step):
        round.path.backward(batch, slopes)
    for batch in round.idle_batches(step):
        round.path.backward(batch, _no_slopes)


def _whole_step_slopes(
    round: Round, step: Sequence[TrainingPair], objective: StepObjective
) -> Slopes:
    """Slopes of pairs that depend on each other: needs all log-probs before the first slope."""
    mine = [round.path.logps(batch) for batch in round.micro_batches(step)]
    for batch in round.idle_batches(step):
        round.path.logps(batch)
    ordered = _in_order_of_ranks(round, step)
    tokens = TokenLogps.concatenate([part for parts in round.team.gather(mine) for part in parts])
    return SlopesByPair(ordered, objective.slopes(ordered, tokens))


def _gather_measurements(
    round: Round, step: Sequence[TrainingPair], objective: StepObjective
) -> PairMeasurements:
    """The measurements of this step by all processes of the team."""
    if traits_of(round.config.loss).whole_step or round.team.size == 1:
        return objective.measured()
    # Pairs need not be sent: every process knows the step and how it is divided.
    mine = [replace(part, pairs=()) for part in objective.parts]
    joined = join_measurements([part for parts in round.team.gather(mine) for part in parts])
    return replace(joined, pairs=tuple(_in_order_of_ranks(round, step)))


def _in_order_of_ranks(round: Round, step: Sequence[TrainingPair]) -> list[TrainingPair]:
    by_rank = round.micro_batches_by_rank(step)
    return [pair for batches in by_rank for batch in batches for pair in batch]


def _no_slopes(pairs: Sequence[TrainingPair], tokens: TokenLogps) -> Tensor:
    return torch.zeros_like(tokens.logps_N)


def _update(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    set_learning_rate(optimiser, learning_rate)
    optimiser.step()
    optimiser.zero_grad()
