"""One DPO round: the reference is the policy as it was before the first step.

`pair` is the number of pairs at hand.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.errors import InvariantViolated
from dpo_core.hashing import weights_id
from dpo_core.preference.losses import margins, preference_loss
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.preference.pair_metrics import preference_metrics
from dpo_core.tables import write_rows
from dpo_core.training.batching import (
    TrainingPair,
    collate,
    load_pairs,
    micro_batches,
    optimiser_steps,
)
from dpo_core.training.curves import DPO_CURVE, REFERENCE_LOGPS
from dpo_core.training.forward import pair_logps
from dpo_core.training.jobs import DpoJob
from dpo_core.training.optimiser import learning_rate_factor, make_optimiser, set_learning_rate
from dpo_core.training.runtime import Runtime, load_master, load_tokenizer, prepare, save_policy

MARGIN_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""First-step margins allowed with a reset reference, nats per token of the longer completion.

bfloat16 logits of size 16 to 32 are 1/8 apart, so one token's log-prob may be off by 1/16.
"""

SAMPLING_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Mean gap allowed between the sampler's log-probs and the reference's, nats per token.

In float32 vLLM and transformers differ by up to 1.6e-5 per token.
"""

_CLIPPED_PAIR_IDS = 8
"""Pair ids named in an error message."""

ReferenceLogps = Mapping[str, tuple[float, float]]
"""Pair id → log-probs (chosen, rejected) under the reference, nats."""


@dataclass(frozen=True)
class Measured:
    """Some pairs as they were when trained on: losses (pair,), log-probs of policy, reference."""

    pairs: tuple[TrainingPair, ...]
    losses: Tensor
    policy: PairLogps
    reference: PairLogps

    def means(self, beta: float) -> dict[str, float]:
        metrics = preference_metrics(self.policy, self.reference, beta=beta)
        return {"loss": float(self.losses.double().mean()), **asdict(metrics)}


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
    runtime = prepare(job.threads, job.seed, job.config.compute_dtype)
    model = load_master(job.policy_dir, runtime.device)
    reference_policy = weights_id(job.policy_dir)

    started = time.monotonic()
    reference = reference_pass(model, pairs, job, runtime, report)
    write_rows(job.reference_logps_path, _rows(reference, reference_policy), REFERENCE_LOGPS)
    gap = sampling_gap(pairs, reference)
    check_sampled_by_reference(gap, SAMPLING_TOLERANCE[runtime.compute_dtype])
    trained_from = time.monotonic()
    steps = list(_train(model, pairs, reference, job, runtime, report))
    ended = time.monotonic()

    write_rows(job.curve_path, [step.row for step in steps], DPO_CURVE)
    save_policy(model, load_tokenizer(job.policy_dir), job.out_dir)
    return {
        **_summary(steps, job.config.beta),
        "policy": weights_id(job.out_dir),
        "reference_policy": reference_policy,
        "pairs": len(pairs),
        "sampling_gap": gap,
        "seconds_reference": trained_from - started,
        "seconds_steps": ended - trained_from,
        **runtime.facts(),
    }


@torch.no_grad()
def reference_pass(
    model: Any, pairs: Sequence[TrainingPair], job: DpoJob, runtime: Runtime, report: Report
) -> ReferenceLogps:
    """Log-probs of all pairs under the policy before its first step.

    Batches are those of the first epoch, so rounding is the same there and first margins are 0.
    """
    found: dict[str, tuple[float, float]] = {}
    for step in optimiser_steps(pairs, job.config.pairs_per_step, job.seed, epoch=0):
        for batch in micro_batches(step, job.config.micro_batch_pairs):
            with runtime.autocast():
                logps = pair_logps(model, collate(batch, runtime.device))
            sums = zip(logps.chosen.tolist(), logps.rejected.tolist(), strict=True)
            found.update(zip([p.pair_id for p in batch], sums, strict=True))
            report(len(found), len(pairs), "pairs, reference pass")
    return found


def sampling_gap(pairs: Sequence[TrainingPair], reference: ReferenceLogps) -> float | None:
    """Mean |log π_ref − log π_sampler| over the pairs' completions, nats per token.

    None when the sampler returned no log-probs.
    """
    gaps = [
        abs(ours - theirs) / max(len(ids), 1)
        for pair in pairs
        if pair.sampled_logps is not None
        for ours, theirs, ids in zip(
            reference[pair.pair_id],
            pair.sampled_logps,
            (pair.chosen_ids, pair.rejected_ids),
            strict=True,
        )
    ]
    return sum(gaps) / len(gaps) if gaps else None


def check_sampled_by_reference(gap: float | None, tolerance: float) -> None:
    """Raise InvariantViolated when other weights than the reference sampled the completions.

    An engine that serves stale weights after an update goes unnoticed otherwise: margins are still
    zero at the first step, and the round trains on answers of a policy that is not there any more.
    """
    if gap is not None and gap > tolerance:
        raise InvariantViolated(
            "the completions were not sampled by the reference policy: log-probs differ by "
            f"{gap:.2e} nats per token on average, more than {tolerance:.0e}",
            "The sampling engine did not serve the weights it was given; try sampling.keep_worker: "
            "step, or the other engine, and report it.",
        )


def _train(
    model: Any,
    pairs: Sequence[TrainingPair],
    reference: ReferenceLogps,
    job: DpoJob,
    runtime: Runtime,
    report: Report,
) -> Iterator[Step]:
    config = job.config
    optimiser = make_optimiser(model.parameters(), config.learning_rate, config.weight_decay)
    total = config.epochs * math.ceil(len(pairs) / config.pairs_per_step)
    done = 0
    for epoch in range(config.epochs):
        for chosen in optimiser_steps(pairs, config.pairs_per_step, job.seed, epoch):
            started = time.monotonic()
            learning_rate = config.learning_rate * learning_rate_factor(
                done, total, warmup_steps=config.warmup_steps, schedule=config.schedule
            )
            set_learning_rate(optimiser, learning_rate)
            measured = accumulate_gradients(model, chosen, reference, config, runtime)
            if done == 0:
                check_first_step(measured, config.beta, MARGIN_TOLERANCE[runtime.compute_dtype])
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm).item()
            done += 1
            check_finite(measured, norm, done, learning_rate)
            optimiser.step()
            optimiser.zero_grad()
            report(done, total, "steps")
            row = _row(done, measured, config.beta, norm, learning_rate, time.monotonic() - started)
            yield Step(epoch, measured, row)


def accumulate_gradients(
    model: Any,
    pairs: Sequence[TrainingPair],
    reference: ReferenceLogps,
    config: TrainingConfig,
    runtime: Runtime,
) -> Measured:
    """Add to the model's gradients that of the mean loss over the pairs of one optimiser step.

    The loss of each micro-batch is divided by the pairs of the whole step, so that the size of
    micro-batches moves no number.
    """
    parts: list[Measured] = []
    for batch in micro_batches(pairs, config.micro_batch_pairs):
        with runtime.autocast():
            policy = pair_logps(model, collate(batch, runtime.device))
        fixed = _reference_of(batch, reference, policy)
        losses = preference_loss(
            policy, fixed, beta=config.beta, label_smoothing=config.label_smoothing
        )
        torch.autograd.backward(losses.sum() / len(pairs))
        detached = PairLogps(policy.chosen.detach(), policy.rejected.detach())
        parts.append(Measured(tuple(batch), losses.detach(), detached, fixed))
    return _joined(parts)


def check_first_step(measured: Measured, beta: float, tolerance: float) -> None:
    """Raise InvariantViolated unless the policy still equals its reference.

    tolerance: nats per token of the pair's longer completion. Margins of 0 make the loss ln 2,
    whatever β and label smoothing, and its slope is at most β.
    """
    found = margins(measured.policy, measured.reference).tolist()
    allowed = [tolerance * pair.longest for pair in measured.pairs]
    excess = [abs(margin) / limit for margin, limit in zip(found, allowed, strict=True)]
    # A NaN is the largest of all: it compares as neither within nor beyond the limit.
    worst = max(range(len(found)), key=lambda i: math.inf if math.isnan(excess[i]) else excess[i])
    if not excess[worst] <= 1:
        raise InvariantViolated(
            f"before the first step the policy must equal its reference, but pair "
            f"{measured.pairs[worst].pair_id} has a margin of {found[worst]:.3g} nats "
            f"(allowed: {allowed[worst]:.3g}), the largest of {len(found)}",
            "The reference log-probs were not made by these weights, or a forward pass is random.",
        )
    loss = float(measured.losses.double().mean())
    if abs(loss - math.log(2)) > beta * max(allowed) + 1e-6:
        raise InvariantViolated(f"the loss of the first step is {loss:.6f}, not ln 2 = 0.693147")


def check_finite(measured: Measured, norm: float, step: int, learning_rate: float) -> None:
    """Raise InvariantViolated, before the weights are touched, when a number is not finite."""
    bad = [
        pair.pair_id
        for pair, loss in zip(measured.pairs, measured.losses.tolist(), strict=True)
        if not math.isfinite(loss)
    ]
    if not bad and math.isfinite(norm):
        return
    what = "the loss" if bad else "the gradient norm"
    ids = bad or [pair.pair_id for pair in measured.pairs]
    shown = ", ".join(ids[:_CLIPPED_PAIR_IDS]) + (" …" if len(ids) > _CLIPPED_PAIR_IDS else "")
    raise InvariantViolated(
        f"{what} of optimiser step {step} is not finite (learning rate {learning_rate:.3g}; "
        f"pairs {shown})",
        "Lower training.learning_rate, or raise training.beta or training.warmup_steps.",
    )


def _reference_of(
    batch: Sequence[TrainingPair], reference: ReferenceLogps, like: PairLogps
) -> PairLogps:
    sums = torch.tensor([reference[pair.pair_id] for pair in batch]).to(like.chosen)
    return PairLogps(chosen=sums[:, 0], rejected=sums[:, 1])


def _joined(parts: Sequence[Measured]) -> Measured:
    def join(logps: Sequence[PairLogps]) -> PairLogps:
        chosen, rejected = [p.chosen for p in logps], [p.rejected for p in logps]
        return PairLogps(torch.cat(chosen), torch.cat(rejected))

    return Measured(
        pairs=tuple(pair for part in parts for pair in part.pairs),
        losses=torch.cat([part.losses for part in parts]),
        policy=join([part.policy for part in parts]),
        reference=join([part.reference for part in parts]),
    )


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
    last_epoch = _joined([s.measured for s in steps if s.epoch == steps[-1].epoch])
    first = steps[0].measured
    return {
        **last_epoch.means(beta),
        "first_loss": steps[0].row["loss"],
        "first_margin_max": float(margins(first.policy, first.reference).abs().max()),
        "steps": len(steps),
    }


def _rows(reference: ReferenceLogps, policy: str) -> Iterator[dict[str, Any]]:
    for pair_id, (chosen, rejected) in sorted(reference.items()):
        yield {"policy": policy, "pair_id": pair_id, "chosen": chosen, "rejected": rejected}
