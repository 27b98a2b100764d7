"""The sampler's own log-probs as those of the reset reference, where some of them stand a test."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
    """What computing the log-probs of `checked` pairs anew showed.

    largest, mean: differences, nats per token. refused: why a pass must be made, or empty.
    """

    checked: int
    largest: float | None
    mean: float | None
    refused: str

    def warning(self) -> EarlyWarning:
        return EarlyWarning(
            "sampled_logps",
            0,
            f"the sampler's log-probs are not used as reference: {self.refused}.",
            "The round took the pass instead; training.reference_logps: pass does so at once.",
        )

    def facts(self) -> dict[str, Any]:
        return {f"from_sampling_{name}": value for name, value in asdict(self).items()}


def check_sampled_logps(round: Round, pairs: Sequence[TrainingPair]) -> SampledLogps:
    """The pairs that are trained on first are computed anew under the round's model.

    The leader says a refusal at once.
    """
    lacking = next((pair for pair in pairs if None in pair.sampled_logps), None)
    if lacking is not None:
        why = f"the sampler returned no log-probs for pair {lacking.pair_id}"
        found = SampledLogps(0, None, None, why)
    else:
        checked, anew = recompute_some_logps(round, pairs)
        largest = max((_difference(pair, anew) for pair in checked), key=_nan_is_largest)
        mean = sampling_gap(checked, anew)
        assert mean is not None, "every pair has sampled log-probs"
        why = _too_far(largest, mean, round.runtime.compute_dtype)
        found = SampledLogps(len(checked), largest, mean, why)
    if found.refused and round.team.leads:
        NOTICES.warning("%s", found.warning())
    return found


def reference_from_sampling(pairs: Sequence[TrainingPair]) -> Reference:
    sums = LogpsByPair(pair.pair_id for pair in pairs)
    for pair in pairs:
        sums.update({pair.pair_id: _told(pair)})
    return Reference(sums, sums, "sampling")


def _difference(pair: TrainingPair, anew: ReferenceLogps) -> float:
    """The largest difference of the log-probs and of the margin that the pair would start at, nats
    per token of the longer completion: what the first step allows for."""
    both = zip(anew[pair.pair_id], _told(pair), strict=True)
    chosen, rejected = (ours - theirs for ours, theirs in both)
    differences = (abs(chosen), abs(rejected), abs(chosen - rejected))
    return max(differences, key=_nan_is_largest) / max(pair.longest, 1)


def _told(pair: TrainingPair) -> tuple[float, float]:
    chosen, rejected = pair.sampled_logps
    assert chosen is not None and rejected is not None, "tried before"
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
