"""Entropy of the policy on completions, at a few positions of every pair.

N completion tokens, group after group, W of them watched, V vocabulary. The
exact entropy of a position needs its whole row of logits once more. At some 32 positions of an
optimiser step that is cheap, and their mean estimates the mean over all its completion tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_core.hashing import ID_HEX, content_id
from dpo_core.training.pairs.batching import PromptGroup, TrainingPair

POSITIONS_PER_STEP = 32
_SMALLEST = 1e-38  # the least that float32 holds in full; terms below it add nothing to a sum


def positions_per_pair(pairs_per_step: int) -> int:
    return max(1, POSITIONS_PER_STEP // pairs_per_step)


def watched(groups: Sequence[PromptGroup], per_pair: int) -> Tensor:
    """(N,) bool, true at `per_pair` tokens of each group, or at all it has.

    They lie evenly, from a start that follows from the group's id alone: neither the order of
    groups nor how they are cut into batches moves them.
    """
    places, start = list[int](), 0
    for group in groups:
        tokens = group.tokens - len(group.prompt_ids)
        count = min(tokens, per_pair)
        phase = int(content_id("entropy", group.id), 16) / 16**ID_HEX if count else 0.0
        places += [start + int((number + phase) * tokens / count) for number in range(count)]
        start += tokens
    found_N = torch.zeros(start, dtype=torch.bool)
    found_N[places] = True
    return found_N


def of_exponentials(exponentials_WV: Tensor, sums_W: Tensor) -> Tensor:
    """(W,) entropies, nats, of rows exp(x − max x) with their sums: log Σe − (Σ e·log e)/Σe."""
    logs_WV = exponentials_WV.clamp(min=_SMALLEST).log_()
    products_W: Tensor = torch.linalg.vecdot(exponentials_WV, logs_WV)
    return sums_W.log() - products_W / sums_W


def of_logits(logits_WV: Tensor) -> Tensor:
    """(W,) float32 entropies, nats."""
    logps_WV = logits_WV.float().log_softmax(-1)
    products_W: Tensor = torch.linalg.vecdot(logps_WV.exp(), logps_WV)
    return -products_W


def placed(entropies_W: Tensor, watched_N: Tensor) -> Tensor:
    """(N,) the entropies at the watched tokens, NaN at the others."""
    nowhere_N = entropies_W.new_full(watched_N.shape, torch.nan)
    return nowhere_N.masked_scatter(watched_N, entropies_W)


def by_pair(entropies_N: Tensor, pairs: Sequence[TrainingPair]) -> Tensor:
    """(pair,) mean entropy of each pair's watched tokens; NaN for a pair without tokens."""
    counts = [len(pair.chosen_ids) + len(pair.rejected_ids) for pair in pairs]
    return torch.stack([part.nanmean() for part in torch.split(entropies_N, counts)])
