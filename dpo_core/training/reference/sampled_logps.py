"""The sampler's log-probs as those of the reset reference, if a check of some of them passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dpo_core.children import NOTICES
from dpo_core.training.checks import MARGIN_TOLERANCE, SAMPLING_TOLERANCE, sampling_gap
from dpo_core.training.metrics.early_warnings import EarlyWarning
from dpo_core.training.objective import ReferenceLogps
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.pairs.logps_by_pair import LogpsByPair
from dpo_core.training.reference.reference_logps import Reference, recompute_some_logps
from dpo_core.training.round import Round


@dataclass(frozen=True)
class SampledLogps:
    """The check of the sampler's log-probs: those of `checked` pairs were recomputed.

    largest, mean: differences, nats per token. rejection: why they are not used, or empty.
    """

    checked: int
    largest: float | None
    mean: float | None
    rejection: str

    def warning(self) -> EarlyWarning:
        """The warning for rejected log-probs."""
        return EarlyWarning(
            "sampled_logps",
            0,
            f"the sampler's log-probs are not used as reference: {self.rejection}.",
            "A reference pass was run instead; training.reference_logps: pass skips the check.",
        )

    def facts(self) -> dict[str, float | str | None]:
        """Facts for the ledger, by their names in RoundStartFacts."""
        return {
            "from_sampling_checked": self.checked,
            "from_sampling_largest": self.largest,
            "from_sampling_mean": self.mean,
            "from_sampling_refused": self.rejection,
        }


def check_sampled_logps(round: Round, pairs: Sequence[TrainingPair]) -> SampledLogps:
    """Check the sampler's log-probs by recomputing those of the first pairs to be trained on.

    The leader sends a notice of a rejection at once.
    """
    missing = next((pair for pair in pairs if None in pair.sampled_logps), None)
    if missing is not None:
        why = f"the sampler returned no log-probs for pair {missing.pair_id}"
        result = SampledLogps(0, None, None, why)
    else:
        checked, recomputed = recompute_some_logps(round, pairs)
        largest = max((_difference(pair, recomputed) for pair in checked), key=_nan_is_largest)
        mean = sampling_gap(checked, recomputed)
        assert mean is not None, "every pair has sampled log-probs"
        why = _too_far(largest, mean, round.runtime.compute_dtype)
        result = SampledLogps(len(checked), largest, mean, why)
    if result.rejection and round.team.leads:
        NOTICES.warning("%s", result.warning())
    return result


def reference_from_sampling(pairs: Sequence[TrainingPair]) -> Reference:
    """The reference that consists of the sampler's log-probs."""
    sums = LogpsByPair(pair.pair_id for pair in pairs)
    for pair in pairs:
        sums.update({pair.pair_id: _sampler_logps(pair)})
    return Reference(sums, sums, "sampling")


def _difference(pair: TrainingPair, recomputed: ReferenceLogps) -> float:
    """Largest difference of a pair's log-probs and of its first margin.

    Unit: nats per token of the longer completion, as in the check of the first step.
    """
    both = zip(recomputed[pair.pair_id], _sampler_logps(pair), strict=True)
    chosen, rejected = (ours - theirs for ours, theirs in both)
    differences = (abs(chosen), abs(rejected), abs(chosen - rejected))
    return max(differences, key=_nan_is_largest) / max(pair.longest, 1)


def _sampler_logps(pair: TrainingPair) -> tuple[float, float]:
    chosen, rejected = pair.sampled_logps
    assert chosen is not None and rejected is not None, "checked before"
    return chosen, rejected


def _nan_is_largest(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _too_far(largest: float, mean: float, dtype: torch.dtype) -> str:
    for value, bound, how in (
        (mean, SAMPLING_TOLERANCE[dtype], "on average"),
        (largest, MARGIN_TOLERANCE[dtype], "for one pair"),
    ):
        if not value <= bound:
            return (
                "the sampler's log-probs differ from the policy's by "
                f"{value:.1e} nats per token {how}, more than {bound:.0e}"
            )
    return ""
