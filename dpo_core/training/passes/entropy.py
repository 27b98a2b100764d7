"""Entropy of the policy on completions, at a few positions of every pair.

N completion tokens, group after group, W of them watched, V vocabulary. The exact entropy of a
position needs another pass over its whole row of logits. At about 32 positions per optimiser step
that is cheap, and their mean estimates the mean over all completion tokens of the step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_core.hashing import ID_HEX, content_id
from dpo_core.training.pairs.batching import PromptGroup, TrainingPair

POSITIONS_PER_STEP = 32
_SMALLEST = 1e-38  # the smallest normal float32; smaller terms add nothing to a sum


def positions_per_pair(pairs_per_step: int) -> int:
    """Watched positions of each pair, for about POSITIONS_PER_STEP per optimiser step."""
    return max(1, POSITIONS_PER_STEP // pairs_per_step)


def watch_mask(groups: Sequence[PromptGroup], per_pair: int) -> Tensor:
    """(N,) bool: true at `per_pair` tokens of each group, or at all of a shorter one.

    Watched tokens are evenly spaced, from a start that depends on the group's id only, not on the
    order of groups or how they are cut into batches.
    """
    places, start = list[int](), 0
    for group in groups:
        tokens = group.tokens - len(group.prompt_ids)
        count = min(tokens, per_pair)
        phase = int(content_id("entropy", group.id), 16) / 16**ID_HEX if count else 0.0
        places += [start + int((number + phase) * tokens / count) for number in range(count)]
        start += tokens
    watched_N = torch.zeros(start, dtype=torch.bool)
    watched_N[places] = True
    return watched_N


def from_exponentials(exponentials_WV: Tensor, sums_W: Tensor) -> Tensor:
    """(W,) entropies, nats, of rows e = exp(x − max x) with their sums: log Σe − (Σ e·log e)/Σe."""
    logs_WV = exponentials_WV.clamp(min=_SMALLEST).log_()
    products_W: Tensor = torch.linalg.vecdot(exponentials_WV, logs_WV)
    return sums_W.log() - products_W / sums_W


def from_logits(logits_WV: Tensor) -> Tensor:
    """(W,) float32 entropies of rows of logits, nats."""
    logps_WV = logits_WV.float().log_softmax(-1)
    products_W: Tensor = torch.linalg.vecdot(logps_WV.exp(), logps_WV)
    return -products_W


def scatter(entropies_W: Tensor, watched_N: Tensor) -> Tensor:
    """(N,) entropies at the watched tokens, NaN at the others."""
    nowhere_N = entropies_W.new_full(watched_N.shape, torch.nan)
    return nowhere_N.masked_scatter(watched_N, entropies_W)


def mean_by_pair(entropies_N: Tensor, pairs: Sequence[TrainingPair]) -> Tensor:
    """(pair,) mean entropy of each pair's watched tokens; NaN for a pair without tokens."""
    counts = [len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs]
    return torch.stack([part.nanmean() for part in torch.split(entropies_N, counts)])
