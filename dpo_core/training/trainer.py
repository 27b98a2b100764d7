"""One DPO round: the reference is the policy as it was before the first step.

`pair` is the number of pairs at hand.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn.utils import clip_grad_norm_

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.hashing import weights_id
from dpo_core.loss_options import TRAITS
from dpo_core.preference.losses import margins
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.tables import write_rows
from dpo_core.training.batching import TrainingPair, load_pairs, optimiser_steps
from dpo_core.training.checks import (
    MARGIN_TOLERANCE,
    SAMPLING_TOLERANCE,
    check_finite,
    check_first_step,
    check_labels,
    check_sampled_by_reference,
    sampling_gap,
)
from dpo_core.training.choose_path import choose_path, micro_batches, token_budget
from dpo_core.training.curves import DPO_CURVE, REFERENCE_LOGPS
from dpo_core.training.jobs import DpoJob
from dpo_core.training.objective import (
    Measured,
    ReferenceLogps,
    SlopesByPair,
    StepObjective,
    completion_sums,
    joined,
)
from dpo_core.training.optimiser import learning_rate_factor, make_optimiser, set_learning_rate
from dpo_core.training.pass_over_pairs import PairPath, TokenLogps
from dpo_core.training.runtime import Runtime, load_master, load_tokenizer, prepare, save_policy

_PLAIN = TrainingConfig()


@dataclass(frozen=True)
class Step:
    """One optimiser step: what it measured before its update, and its row of the curve."""

    epoch: int
    measured: Measured
    row: dict[str, Any]


def train_round(job: DpoJob, report: Report) -> dict[str, Any]:
    """Train the policy of `job` on its preferences; returns means over the last epoch.

    Every pair is measured when it is trained on. Raises InvariantViolated when the first step does
    not find the policy equal to its reference, or when a loss or gradient is not finite;
    RatchetError when there is nothing to train on.
    """
    pairs = load_pairs(job.preferences, job.completions)
    check_labels(pairs, job.config.loss)
    runtime = prepare(job.threads, job.seed, job.config.compute_dtype)
    model = load_master(job.policy_dir, runtime.device)
    reference_policy = weights_id(job.policy_dir)
    path, why_not_fast = choose_path(model, pairs, job.config, runtime)
    round = Round(job, runtime, model, path, report)

    started = time.monotonic()
    reference, plain_sums = round.reference_pass(pairs)
    write_rows(job.reference_logps_path, _rows(plain_sums, reference_policy), REFERENCE_LOGPS)
    gap = sampling_gap(pairs, plain_sums)
    check_sampled_by_reference(gap, SAMPLING_TOLERANCE[runtime.compute_dtype])
    trained_from = time.monotonic()
    steps = list(round.train(pairs, reference))
    ended = time.monotonic()

    write_rows(job.curve_path, [step.row for step in steps], DPO_CURVE)
    save_policy(model, load_tokenizer(job.policy_dir), job.out_dir)
    return {
        **_summary(steps, job.config.beta),
        "policy": weights_id(job.out_dir),
        "reference_policy": reference_policy,
        "pairs": len(pairs),
        "path": path.name,
        "why_not_fast": why_not_fast,
        "sampling_gap": gap,
        "seconds_reference": trained_from - started,
        "seconds_steps": ended - trained_from,
        **runtime.facts(),
    }


class Round:
    """One round's model on its way; `report` hears of its progress."""

    def __init__(
        self, job: DpoJob, runtime: Runtime, model: Any, path: PairPath, report: Report
    ) -> None:
        self.config = job.config
        self.seed = job.seed
        self.runtime = runtime
        self.model = model
        self.path = path
        self.report = report
        self._budget = token_budget(job.config, runtime)

    def reference_pass(
        self, pairs: Sequence[TrainingPair]
    ) -> tuple[ReferenceLogps, ReferenceLogps]:
        """Log-probs under the policy before its first step: (as the loss sums them, plain sums).

        Batches are those of the first epoch, so rounding is the same there, first margins are 0.
        """
        found: dict[str, tuple[float, float]] = {}
        plain: dict[str, tuple[float, float]] = {}
        for step in optimiser_steps(pairs, self.config.pairs_per_step, self.seed, epoch=0):
            for batch in micro_batches(step, self.path, self._budget):
                tokens = self.path.logps(batch)
                found |= _sums(batch, completion_sums(batch, tokens, self.config))
                plain |= _sums(batch, completion_sums(batch, tokens, _PLAIN))
                self.report(len(found), len(pairs), "pairs, reference pass")
        return found, plain

    def train(self, pairs: Sequence[TrainingPair], reference: ReferenceLogps) -> Iterator[Step]:
        config = self.config
        optimiser = make_optimiser(
            self.model.parameters(), config.learning_rate, config.weight_decay
        )
        total = config.epochs * math.ceil(len(pairs) / config.pairs_per_step)
        done = 0
        for epoch in range(config.epochs):
            for step in optimiser_steps(pairs, config.pairs_per_step, self.seed, epoch):
                started = time.monotonic()
                learning_rate = config.learning_rate * learning_rate_factor(
                    done, total, warmup_steps=config.warmup_steps, schedule=config.schedule
                )
                set_learning_rate(optimiser, learning_rate)
                objective = StepObjective(step, reference, config)
                self.add_gradients(step, objective)
                measured = objective.measured()
                if done == 0:
                    tolerance = MARGIN_TOLERANCE[self.runtime.compute_dtype]
                    check_first_step(measured, objective.losses, tolerance)
                norm = clip_grad_norm_(self.model.parameters(), config.max_grad_norm).item()
                done += 1
                check_finite(measured, norm, done, learning_rate)
                optimiser.step()
                optimiser.zero_grad()
                self.report(done, total, "steps")
                seconds = time.monotonic() - started
                yield Step(
                    epoch,
                    measured,
                    _row(done, measured, config.beta, norm, learning_rate, seconds),
                )

    def add_gradients(self, step: Sequence[TrainingPair], objective: StepObjective) -> None:
        """Add to the model's gradients that of the loss of one optimiser step."""
        batches = list(micro_batches(step, self.path, self._budget))
        if not TRAITS[self.config.loss].whole_step:
            for batch in batches:
                self.path.backward(batch, objective.slopes)
            return
        # Its pairs depend on each other: all log-probs first, then a second visit with the slopes.
        ordered = [pair for batch in batches for pair in batch]
        tokens = TokenLogps.joined([self.path.logps(batch) for batch in batches])
        known = SlopesByPair(ordered, objective.slopes(ordered, tokens))
        for batch in batches:
            self.path.backward(batch, known)


def _row(
    step: int, measured: Measured, beta: float, norm: float, learning_rate: float, seconds: float
) -> dict[str, Any]:
    values = {
        **measured.means(beta),
        "step": step,
        "gradient_norm": norm,
        "learning_rate": learning_rate,
        "pairs": len(measured.pairs),
        "seconds": seconds,
    }
    return {name: values[name] for name in DPO_CURVE.names}


def _summary(steps: Sequence[Step], beta: float) -> dict[str, Any]:
    last_epoch = joined([s.measured for s in steps if s.epoch == steps[-1].epoch])
    first = steps[0].measured
    return {
        **last_epoch.means(beta),
        "first_loss": steps[0].row["loss"],
        "first_margin_max": float(margins(first.policy, first.reference).abs().max()),
        "steps": len(steps),
    }


def _sums(batch: Sequence[TrainingPair], logps: PairLogps) -> dict[str, tuple[float, float]]:
    sums = zip(logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
    return dict(zip([pair.pair_id for pair in batch], sums, strict=True))


def _rows(reference: ReferenceLogps, policy: str) -> Iterator[dict[str, Any]]:
    for pair_id, (chosen, rejected) in sorted(reference.items()):
        yield {"policy": policy, "pair_id": pair_id, "chosen": chosen, "rejected": rejected}
