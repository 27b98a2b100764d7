"""The loss of one optimiser step, from token log-probs that arrive a few pairs at a time.

N completion tokens, pair after pair, chosen before rejected; `pair` is the number of pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from dpo_core.config import TrainingConfig
from dpo_core.preference.losses import PairLosses
from dpo_core.preference.pair_logps import (
    PairLogps,
    length_desensitised_sums,
    split_by_completion,
    wpo_weights,
)
from dpo_core.preference.pair_metrics import (
    PreferenceMetrics,
    length_correlation,
    preference_metrics,
)
from dpo_core.training.pairs.batching import TrainingPair, completion_lengths
from dpo_core.training.passes import entropy
from dpo_core.training.passes.pass_over_pairs import TokenLogps

ReferenceLogps = Mapping[str, tuple[float, float]]
"""Pair id → log-probs (chosen, rejected) under the reference, nats, summed like the policy's."""


NUMERICS_VERSION = 3
"""Increased when a job computes different numbers than before. Checkpoints and cached log-probs of
older versions are then not used."""

_CORRELATION = "length_correlation"


@dataclass(frozen=True)
class PairMeasurements:
    """Measurements of some pairs, made when they were trained on.

    losses: (pair,). policy, reference: log-probs; reference is None for a loss without one.
    entropies: (pair,) means over the watched tokens of each pair, nats; NaN where there are none.
    """

    pairs: tuple[TrainingPair, ...]
    losses: Tensor
    policy: PairLogps
    reference: PairLogps | None
    entropies: Tensor

    def means(self, beta: float) -> dict[str, float | None]:
        """Means over the pairs. Without a reference those of log-ratios are None."""
        return {
            "loss": float(self.losses.double().mean()),
            **self._compared(beta),
            "entropy": self._entropy(),
            "chosen_tokens": float(self.policy.plain.lengths("chosen", "any").double().mean()),
            "rejected_tokens": float(self.policy.plain.lengths("rejected", "any").double().mean()),
        }

    def _compared(self, beta: float) -> dict[str, float | None]:
        if self.reference is None:
            return dict.fromkeys([*(f.name for f in fields(PreferenceMetrics)), _CORRELATION])
        metrics = preference_metrics(self.policy, self.reference, beta=beta)
        return {**asdict(metrics), _CORRELATION: length_correlation(self.policy, self.reference)}

    def _entropy(self) -> float | None:
        """Mean entropy, nats per completion token: every pair is weighted by its tokens."""
        lengths = completion_lengths(self.pairs, self.entropies.device).sum(1).double()
        counts = lengths * self.entropies.isfinite()
        if not counts.any():
            return None
        return float((counts * self.entropies.double().nan_to_num()).sum() / counts.sum())


class StepObjective:
    """Loss and slopes of the pairs of one optimiser step.

    The step's loss is a mean over all its pairs (or their chosen tokens), so micro-batches do not
    change results.
    """

    def __init__(
        self,
        step: Sequence[TrainingPair],
        reference: ReferenceLogps | None,
        config: TrainingConfig,
    ) -> None:
        self.config = config
        self.losses = PairLosses(config.loss, config.loss_options(), config.nll_weight)
        self._pairs = len(step)
        self._tokens_per_pair = sum(len(pair.chosen_ids) for pair in step) / len(step)
        self._reference = reference
        self.parts: list[PairMeasurements] = []

    def slopes(self, pairs: Sequence[TrainingPair], tokens: TokenLogps) -> Tensor:
        """(N,) derivatives of the step's loss with respect to these pairs' token log-probs."""
        with torch.enable_grad():
            logps_N = tokens.logps_N.detach().requires_grad_()
            policy = completion_sums(
                pairs, TokenLogps(logps_N, tokens.log_collisions_N), self.config
            )
            reference = self._reference_of(pairs, policy)
            losses = self.losses(
                policy,
                reference,
                p_chosen=_soft_labels(pairs, policy),
                tokens_per_pair=self._tokens_per_pair,
            )
            (slopes_N,) = torch.autograd.grad(losses.sum() / self._pairs, logps_N)
        entropies = _entropies(pairs, tokens)
        self.parts.append(
            PairMeasurements(tuple(pairs), losses.detach(), policy.detached(), reference, entropies)
        )
        return slopes_N

    def measured(self) -> PairMeasurements:
        """The measurements of all pairs so far."""
        return join_measurements(self.parts)

    def _reference_of(self, pairs: Sequence[TrainingPair], like: PairLogps) -> PairLogps | None:
        if self._reference is None:
            return None
        sums = torch.tensor([self._reference[pair.pair_id] for pair in pairs]).to(like.chosen)
        return PairLogps(sums[:, 0], sums[:, 1], like.chosen_lengths, like.rejected_lengths)


class SlopesByPair:
    """Slopes that were computed beforehand, looked up by pair."""

    def __init__(self, pairs: Sequence[TrainingPair], slopes_N: Tensor) -> None:
        counts = [len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs]
        ids = [pair.pair_id for pair in pairs]
        self._known = dict(zip(ids, torch.split(slopes_N, counts), strict=True))

    def __call__(self, pairs: Sequence[TrainingPair], tokens: TokenLogps) -> Tensor:
        return torch.cat([self._known[pair.pair_id] for pair in pairs])


def completion_sums(
    pairs: Sequence[TrainingPair], tokens: TokenLogps, config: TrainingConfig
) -> PairLogps:
    """Log-probs of completions from those of their tokens; applies LD-DPO and WPO."""
    lengths_P2 = completion_lengths(pairs, tokens.logps_N.device)
    logps_P2L = split_by_completion(tokens.logps_N, lengths_P2)
    sums_P2 = logps_P2L.sum(-1)
    weights = None
    if config.wpo:
        assert tokens.log_collisions_N is not None, "with WPO the pass computes collisions"
        collisions_P2L = split_by_completion(tokens.log_collisions_N, lengths_P2)
        weights = wpo_weights(logps_P2L, collisions_P2L, lengths_P2)
    whole = PairLogps(
        sums_P2[:, 0], sums_P2[:, 1], lengths_P2[:, 0], lengths_P2[:, 1], weights=weights
    )
    if config.ld_alpha is None or not config.shortens:
        return whole
    shortened_P2 = length_desensitised_sums(logps_P2L, lengths_P2, config.ld_alpha)
    return PairLogps(shortened_P2[:, 0], shortened_P2[:, 1], weights=weights, whole=whole)


def _entropies(pairs: Sequence[TrainingPair], tokens: TokenLogps) -> Tensor:
    if tokens.entropies_N is None:
        return tokens.logps_N.new_full((len(pairs),), torch.nan)
    return entropy.mean_by_pair(tokens.entropies_N, pairs)


def _soft_labels(pairs: Sequence[TrainingPair], like: PairLogps) -> Tensor | None:
    labels = [pair.p_chosen for pair in pairs]
    return None if set(labels) == {1.0} else torch.tensor(labels).to(like.chosen)


def join_measurements(parts: Sequence[PairMeasurements]) -> PairMeasurements:
    """Concatenate the parts, in order."""
    references = [part.reference for part in parts if part.reference is not None]
    return PairMeasurements(
        pairs=tuple(pair for part in parts for pair in part.pairs),
        losses=torch.cat([part.losses for part in parts]),
        policy=PairLogps.concatenate([part.policy for part in parts]),
        reference=PairLogps.concatenate(references) if references else None,
        entropies=torch.cat([part.entropies for part in parts]),
    )
