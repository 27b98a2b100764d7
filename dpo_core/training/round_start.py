"""The start of a round: the model to train, and log-probs under its reference.

A killed round resumes from its checkpoint, which holds these log-probs, so no other model is
loaded.
"""

from dataclasses import dataclass
from pathlib import Path

from dpo_core.config import RESULT_NEUTRAL_KEYS
from dpo_core.hashing import digest, file_sha256, policy_id
from dpo_core.training.checkpoints.checkpoint import Progress, find_latest, read_progress
from dpo_core.training.checks import SAMPLING_TOLERANCE, check_sampled_by_policy, sampling_gap
from dpo_core.training.metrics.curve_recorder import RecordedCurve
from dpo_core.training.objective import NUMERICS_VERSION
from dpo_core.training.passes.rope_lengths import RopeLengths
from dpo_core.training.policy_in_training import PolicyInTraining, load_policy
from dpo_core.training.reference.cache import ReferenceCache
from dpo_core.training.reference.reference_logps import (
    Reference,
    compute_other_reference,
    compute_own_reference,
    recompute_some_logps,
)
from dpo_core.training.reference.sampled_logps import (
    SampledLogps,
    check_sampled_logps,
    reference_from_sampling,
)
from dpo_core.training.results import RoundStartFacts
from dpo_core.training.round import Round, RoundSetting


@dataclass(frozen=True)
class RoundStart:
    """A round before its first remaining step.

    checkpoint: where its weights are; None at the very beginning. reference_id: hash of the
    reference's weights; None for a loss without one. at_reference: whether these are the policy's
    weights before the first step.
    """

    round: Round
    policy: PolicyInTraining
    why_not_fast: str
    progress: Progress
    checkpoint: Path | None
    reference_id: str | None
    at_reference: bool


def prepare_round(setting: RoundSetting) -> RoundStart:
    """Compute the reference's log-probs, then load the policy: one model in memory at a time.

    Raises InvariantViolated when weights other than the policy's sampled the pairs.
    """
    own = policy_id(setting.job.policy_dir)
    reference_id = _find_reference_id(setting, own)
    round_id = _round_id(setting, own, reference_id)
    checkpoint = find_latest(setting.job.checkpoints, round_id)
    other = None
    if checkpoint is None and reference_id is not None and reference_id != own:
        other = compute_other_reference(setting, ReferenceCache(setting, reference_id))
    policy = load_policy(setting.job, setting.runtime, setting.team)
    round, why_not_fast = setting.round(policy.model, policy.enter)
    if checkpoint is not None:
        progress = read_progress(checkpoint)
    else:
        reference, facts = _prepare_reference(setting, round, other, own, reference_id)
        progress = _initial_progress(round_id, reference, facts)
    at_reference = reference_id == own
    return RoundStart(round, policy, why_not_fast, progress, checkpoint, reference_id, at_reference)


def _find_reference_id(setting: RoundSetting, own: str) -> str | None:
    job = setting.job
    if not job.config.has_reference:
        return None
    return own if job.reference_dir is None else policy_id(job.reference_dir)


def _round_id(setting: RoundSetting, own: str, reference_id: str | None) -> str:
    """Hash of everything the round depends on."""
    job = setting.job
    config = job.config.model_dump(mode="json", exclude=set(RESULT_NEUTRAL_KEYS))
    return digest(
        NUMERICS_VERSION, own, reference_id, file_sha256(job.preferences), config, job.seed
    )


def _prepare_reference(
    setting: RoundSetting,
    round: Round,
    other: Reference | None,
    own: str,
    reference_id: str | None,
) -> tuple[Reference | None, RoundStartFacts]:
    """(the reference, facts about it); checks that the policy sampled the pairs."""
    reference, sampled = other, None
    if reference_id == own:
        if setting.job.config.reference_logps == "from_sampling":
            sampled = check_sampled_logps(round, setting.pairs)
            reference = None if sampled.rejection else reference_from_sampling(setting.pairs)
        cache = ReferenceCache(setting, own)
        reference = reference or compute_own_reference(setting, round, cache)
    gap = _measure_gap(setting, round, reference if reference_id == own else None, sampled)
    check_sampled_by_policy(
        gap, SAMPLING_TOLERANCE[setting.runtime.compute_dtype], RopeLengths(round.model).limit
    )
    cached = reference is not None and reference.source == "cache"
    facts = RoundStartFacts(
        reference_source=None if reference is None else reference.source,
        reference_cached=len(setting.pairs) if cached else 0,
        sampling_gap=gap,
        warnings=[] if sampled is None or not sampled.rejection else [sampled.warning()],
    )
    return reference, facts if sampled is None else facts.model_copy(update=sampled.facts())


def _measure_gap(
    setting: RoundSetting, round: Round, own: Reference | None, sampled: SampledLogps | None
) -> float | None:
    """Mean gap between the sampler's log-probs and the policy's, nats per token.

    Over all pairs where the policy's log-probs are known (`own`), else over some.
    """
    if own is None:
        return sampling_gap(*recompute_some_logps(round, setting.pairs))
    if own.source == "sampling" and sampled is not None:
        return sampled.mean
    return sampling_gap(setting.pairs, own.plain)


def _initial_progress(
    round_id: str, reference: Reference | None, facts: RoundStartFacts
) -> Progress:
    counted, plain = ({}, {}) if reference is None else (reference.counted, reference.plain)
    return Progress(round_id, 0, RecordedCurve(), facts, counted, plain)
