"""Room on the disk, against what a round and the whole campaign write."""

from pathlib import Path

from dpo_core.full_disk import free_bytes
from flows.config import CampaignConfig, KeepLast
from flows.doctor.findings import Finding, note, ok, problem
from flows.doctor.shape import Shape
from flows.evaluation.held_out_prompts import MOST

_GIB = 2**30
_TOKEN_BYTES = 12
"""Of a sampled token: its id, its log-prob, its text; parquet makes less of it."""
_COMPLETION_BYTES = 1024
_WEIGHT_BYTES, _CHECKPOINT_BYTES, _STATE_BYTES = 4, 12, 8


def round_gib(config: CampaignConfig) -> float:
    """Answers of one round, without weights."""
    sampling, evaluation = config.sampling, config.evaluation
    answers = _sampled(config)
    asked = (evaluation.gate_prompts, evaluation.test_prompts)
    held_out = sum(MOST if count == "auto" else count for count in asked)
    answers += held_out * evaluation.samples_per_prompt
    return answers * (_TOKEN_BYTES * sampling.max_tokens + _COMPLETION_BYTES) / _GIB


def _sampled(config: CampaignConfig) -> int:
    """Answers to a round's own prompts, at most: they lie there once more where they are joined, of
    two that answer and of several draws."""
    joined = (config.pairs.rejected_from is not None) + (config.goal is not None)
    if config.goal is not None:
        return (1 + joined) * config.goal.budget_tokens // config.sampling.max_tokens
    return (1 + joined) * config.prompts.per_round * config.answers_each


def weights_gib(shape: Shape | None) -> float:
    """One policy on disk, float32; 0 where its size is not known."""
    return _WEIGHT_BYTES * ((shape.parameters if shape else None) or 0) / _GIB


def check_disk(config: CampaignConfig, root: Path, shape: Shape | None) -> Finding:
    """Whether the next round fits, and all of them."""
    free = free_bytes(root)
    one = weights_gib(shape)
    carried = _STATE_BYTES if config.training.optimiser_state == "carried" else 0
    policy = one * (1 + carried / _WEIGHT_BYTES)
    next_round = round_gib(config) + policy + one * _CHECKPOINT_BYTES / _WEIGHT_BYTES
    campaign = config.rounds * round_gib(config) + one + policy * policies_kept(config)
    what = (
        f"a round takes up to {_size(next_round)} while it is trained (weights {_size(one)}), "
        f"{config.rounds} rounds keep {_size(campaign)}; {_size(free / _GIB)} are free"
    )
    if shape is None or shape.parameters is None:
        what += "; without weights, whose size is not known here"
    remedy = "Free some space, or name another folder with --campaign-dir"
    if next_round > free / _GIB:
        return problem("disk", what, str(root), f"{remedy}.")
    if campaign > free / _GIB:
        remedy += ", or keep fewer weights with keep_policies"
        return note("disk", what, str(root), f"{remedy}.")
    return ok("disk", what, str(root))


def _size(gib: float) -> str:
    return f"{gib:,.1f} GiB" if gib >= 0.1 else f"{1024 * gib:.1f} MiB"


def policies_kept(config: CampaignConfig) -> int:
    """Policies of rounds that lie there at the end."""
    keep = config.keep_policies
    if isinstance(keep, KeepLast):
        return min(config.rounds, keep.last + 1)
    return config.rounds if keep == "all" else min(config.rounds, 2)
