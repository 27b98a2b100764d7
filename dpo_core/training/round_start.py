"""What a round starts from: the model to be trained, and the reference it is compared with.

A killed round goes on from its checkpoint, which knows the reference: no other model is loaded.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core.config import RESULT_NEUTRAL_KEYS
from dpo_core.hashing import digest, file_sha256, policy_id
from dpo_core.training.checkpoints.checkpoint import Progress, find_latest, read_progress
from dpo_core.training.checks import SAMPLING_TOLERANCE, check_sampled_by_policy, sampling_gap
from dpo_core.training.metrics.curve_recorder import CurveRecorder
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
from dpo_core.training.round import Round, RoundSetting


@dataclass(frozen=True)
class RoundStart:
    """A round before the first step that is left of it.

    checkpoint: where its weights are; None at the very beginning. compared_with: hash of the
    reference's weights; None for a loss that compares with none. at_reference: whether they are
    those of the policy before the first step.
    """

    round: Round
    policy: PolicyInTraining
    why_not_fast: str
    progress: Progress
    checkpoint: Path | None
    compared_with: str | None
    at_reference: bool


def prepare_round(setting: RoundSetting) -> RoundStart:
    """The reference's log-probs, and then the model that is trained: one in memory at a time.

    Raises InvariantViolated when other weights than the policy's sampled the pairs.
    """
    own = policy_id(setting.job.policy_dir)
    compared_with = _compared_with(setting, own)
    round_id = _round_id(setting, own, compared_with)
    checkpoint = find_latest(setting.job.checkpoints, round_id)
    other = None
    if checkpoint is None and compared_with is not None and compared_with != own:
        other = compute_other_reference(setting, ReferenceCache(setting, compared_with))
    policy = load_policy(setting.job, setting.runtime, setting.team)
    round, why_not_fast = setting.round(policy.model, policy.enter)
    if checkpoint is not None:
        progress = read_progress(checkpoint)
    else:
        reference, facts = _compared(setting, round, other, own, compared_with)
        progress = _nothing_done(round, round_id, reference, facts)
    at_reference = compared_with == own
    return RoundStart(
        round, policy, why_not_fast, progress, checkpoint, compared_with, at_reference
    )


def _compared_with(setting: RoundSetting, own: str) -> str | None:
    job = setting.job
    if not job.config.has_reference:
        return None
    return own if job.reference_dir is None else policy_id(job.reference_dir)


def _round_id(setting: RoundSetting, own: str, compared_with: str | None) -> str:
    """Hash of what the round depends on."""
    job = setting.job
    config = job.config.model_dump(mode="json", exclude=set(RESULT_NEUTRAL_KEYS))
    return digest(
        NUMERICS_VERSION, own, compared_with, file_sha256(job.preferences), config, job.seed
    )


def _compared(
    setting: RoundSetting,
    round: Round,
    other: Reference | None,
    own: str,
    compared_with: str | None,
) -> tuple[Reference | None, dict[str, Any]]:
    """(the reference, what is recorded of it), with the policy checked to be the sampler's."""
    reference, sampled = other, None
    if compared_with == own:
        if setting.job.config.reference_logps == "from_sampling":
            sampled = check_sampled_logps(round, setting.pairs)
            reference = None if sampled.refused else reference_from_sampling(setting.pairs)
        cache = ReferenceCache(setting, own)
        reference = reference or compute_own_reference(setting, round, cache)
    gap = _gap(setting, round, reference if compared_with == own else None, sampled)
    check_sampled_by_policy(
        gap, SAMPLING_TOLERANCE[setting.runtime.compute_dtype], RopeLengths(round.model).limit
    )
    cached = reference is not None and reference.source == "cache"
    warnings = [] if sampled is None or not sampled.refused else [asdict(sampled.warning())]
    return reference, {
        "reference_source": None if reference is None else reference.source,
        "reference_cached": len(setting.pairs) if cached else 0,
        "sampling_gap": gap,
        "warnings": warnings,
        **({} if sampled is None else sampled.facts()),
    }


def _gap(
    setting: RoundSetting, round: Round, own: Reference | None, sampled: SampledLogps | None
) -> float | None:
    """What the sampler's log-probs differ by from the policy's, nats per token: of all pairs where
    the policy was asked for them (`own`), else of some."""
    if own is None:
        return sampling_gap(*recompute_some_logps(round, setting.pairs))
    if own.source == "sampling" and sampled is not None:
        return sampled.mean
    return sampling_gap(setting.pairs, own.plain)


def _nothing_done(
    round: Round, round_id: str, reference: Reference | None, facts: dict[str, Any]
) -> Progress:
    counted, plain = ({}, {}) if reference is None else (reference.counted, reference.plain)
    return Progress(round_id, 0, CurveRecorder(round).state(), facts, counted, plain)
