"""Invariants of every round. Errors name the pair, the step and the remedy."""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput, InvariantViolated
from dpo_core.loss_options import check_combination, traits_of
from dpo_core.preference.losses import PairLosses, margins
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.training.objective import PairMeasurements
from dpo_core.training.pairs.batching import TrainingPair

MARGIN_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest first-step margin with a reset reference, nats per token of the longer completion.

bfloat16 logits between 16 and 32 are 1/8 apart, so one token's log-prob may be off by 1/16.
"""

SAMPLING_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest mean gap between the sampler's log-probs and the policy's, nats per token.

In float32 vLLM and transformers differ by up to 1.6e-5 per token.
"""

_CLIPPED_PAIR_IDS = 8
"""Most pair ids in an error message."""


def check_loss(config: TrainingConfig) -> None:
    """Raise BadInput for a loss whose options cannot be combined."""
    try:
        check_combination(config.loss, wpo=config.wpo, shortened=config.shortens)
    except ValueError as error:
        raise BadInput(str(error)) from None


def check_labels(pairs: Sequence[TrainingPair], loss: str) -> None:
    """Raise BadInput for uncertain labels that `loss` cannot take."""
    soft = next((pair for pair in pairs if pair.p_chosen != 1.0), None)
    if soft is not None and not traits_of(loss).soft_labels:
        raise BadInput(
            f"pair {soft.pair_id} has the soft label p_chosen = {soft.p_chosen}, which loss {loss} "
            "cannot take: it weights one direction only",
            "Choose training.loss: sigmoid or sigmoid_norm.",
        )


def sampling_gap(
    pairs: Sequence[TrainingPair], policy: Mapping[str, tuple[float, float]]
) -> float | None:
    """Mean |log π − log π_sampler| over the pairs' completions, nats per token.

    policy: pair id → plain sums of the log-probs before the first step. Completions without
    log-probs from the sampler, such as another model's, do not count; None where there are none.
    """
    gaps = array("d", _gaps(pairs, policy))
    return sum(gaps) / len(gaps) if gaps else None


def _gaps(
    pairs: Sequence[TrainingPair], policy: Mapping[str, tuple[float, float]]
) -> Iterator[float]:
    for pair in pairs:
        if pair.sampled_logps == (None, None):
            continue
        both = zip(policy[pair.pair_id], pair.sampled_logps, strict=True)
        for (ours, theirs), ids in zip(both, (pair.chosen_ids, pair.rejected_ids), strict=True):
            if theirs is not None:
                yield abs(ours - theirs) / max(len(ids), 1)


def check_sampled_by_policy(
    gap: float | None, tolerance: float, rope_limit: int | None = None
) -> None:
    """Raise InvariantViolated when weights other than the policy's sampled the completions.

    Otherwise an engine that serves stale weights after an update would go unnoticed: margins are
    still zero at the first step, and the round would train on answers of an earlier policy.
    """
    remedy = (
        "The sampling engine did not use the weights it was given. Try sampling.keep_worker: step "
        "or the other sampling.engine, and report a bug."
    )
    if rope_limit is not None:  # vLLM uses one factor for all, from the longest possible sequence
        remedy = (
            "The policy's rotary embedding depends on sequence length, which engines handle "
            f"differently: set sampling.max_model_len to at most {rope_limit}, and if that is not "
            "enough, sampling.engine to transformers."
        )
    if gap is not None and not gap <= tolerance:  # NaN fails, too
        raise InvariantViolated(
            "the completions were not sampled by the policy they train: log-probs differ by "
            f"{gap:.2e} nats per token on average, more than {tolerance:.0e}",
            remedy,
        )


def check_first_step(measured: PairMeasurements, losses: PairLosses, tolerance: float) -> None:
    """Raise InvariantViolated unless the policy still equals its reference.

    tolerance: nats per token of the pair's longer completion. The loss must also be that of equal
    log-probs (ln 2 for sigmoid, 1/(4β²) for IPO, 1 for hinge), up to the effect of such margins.
    """
    reference = measured.reference
    assert reference is not None, "only losses with a reference start at it"
    first_margins = margins(measured.policy, reference).tolist()
    allowed = [tolerance * pair.longest for pair in measured.pairs]
    excess = [abs(margin) / limit for margin, limit in zip(first_margins, allowed, strict=True)]
    # NaN counts as the largest: it compares as neither within nor beyond the limit.
    worst = max(range(len(excess)), key=lambda i: math.inf if math.isnan(excess[i]) else excess[i])
    if not excess[worst] <= 1:
        raise InvariantViolated(
            f"before the first step the policy must equal its reference, but pair "
            f"{measured.pairs[worst].pair_id} has a margin of {first_margins[worst]:.3g} nats "
            f"(allowed: {allowed[worst]:.3g}), the largest of {len(first_margins)}",
            "The reference log-probs are from other weights, or forward passes are random.",
        )
    loss = float(measured.losses.double().mean())
    expected, slack = _loss_at_reference(measured, reference, losses, allowed)
    if not abs(loss - expected) <= slack + 1e-6:
        raise InvariantViolated(
            f"the loss of the first step is {loss:.6f}, but must be {expected:.6f}, because policy "
            "and reference are equal"
        )


def _loss_at_reference(
    measured: PairMeasurements, same: PairLogps, losses: PairLosses, allowed: Sequence[float]
) -> tuple[float, float]:
    """(mean loss of a policy equal to its reference, its change by margins of `allowed` nats)."""
    shift = torch.tensor(allowed).to(same.chosen)
    tokens_per_pair = float(measured.policy.plain.lengths("chosen", "any").double().mean())

    def mean_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> float:
        moved = replace(measured.policy, chosen=chosen, rejected=rejected)
        return float(losses(moved, same, tokens_per_pair=tokens_per_pair).double().mean())

    exact = mean_loss(same.chosen, same.rejected)
    moved = (
        mean_loss(same.chosen + x * shift, same.rejected + y * shift)
        for x in (-1, 0, 1)
        for y in (-1, 0, 1)
    )
    return exact, max(abs(loss - exact) for loss in moved)


def check_finite(
    measured: PairMeasurements, norm: float, step: int, learning_rate: float, loss: str
) -> None:
    """Raise InvariantViolated, before the weights change, when a number is not finite."""
    finite = measured.losses.isfinite()
    if finite.all() and math.isfinite(norm):
        return
    what = "the gradient norm" if finite.all() else "the loss"
    ids = _not_finite(measured, loss) or [pair.pair_id for pair in measured.pairs]
    listed = ", ".join(ids[:_CLIPPED_PAIR_IDS]) + (" …" if len(ids) > _CLIPPED_PAIR_IDS else "")
    raise InvariantViolated(
        f"{what} of optimiser step {step} is not finite (learning rate {learning_rate:.3g}; "
        f"pairs {listed})",
        "Lower training.learning_rate, or raise training.beta or training.warmup_steps.",
    )


def _not_finite(measured: PairMeasurements, loss: str) -> list[str]:
    """Ids of pairs with a number that is not finite.

    The values of a whole-step loss do not belong to single pairs, so there log-probs are checked.
    """
    finite = measured.losses.isfinite()
    if traits_of(loss).whole_step:
        finite = torch.stack(
            [
                values.isfinite()
                for logps in (measured.policy, measured.reference)
                if logps is not None
                for values in (logps.chosen, logps.rejected)
            ]
        ).all(0)
    return [p.pair_id for p, ok in zip(measured.pairs, finite.tolist(), strict=True) if not ok]
