"""Pairs in one row of tokens, without padding, each prompt once.

T tokens of the row, N completion tokens, P pairs (their three parts: 3). A pair lies as
[prompt | chosen | rejected]; positions of the rejected completion continue the prompt's, and the
last token of the prompt predicts the first token of both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes import entropy


@dataclass(frozen=True)
class Segment:
    """The place of one pair in the row, and the tokens of its three parts."""

    start: int
    prompt: int
    chosen: int
    rejected: int

    @property
    def fork(self) -> int:
        """Where the rejected completion begins."""
        return self.start + self.prompt + self.chosen

    @property
    def end(self) -> int:
        return self.fork + self.rejected

    @property
    def predictions(self) -> int:
        """Completion tokens of the pair."""
        return self.chosen + self.rejected


def attended(segments: Sequence[Segment]) -> Iterator[tuple[slice, list[slice]]]:
    """(query rows, blocks of keys they see); in the block that is the rows themselves, causally."""
    for segment in segments:
        whole = slice(segment.start, segment.fork)
        yield whole, [whole]
        if segment.rejected:
            rejected = slice(segment.fork, segment.end)
            yield rejected, [slice(segment.start, segment.start + segment.prompt), rejected]


@dataclass(frozen=True)
class PackedPairs:
    """input_ids, position_ids (1, T); lengths (pair, 2) of chosen and rejected completions.

    predictors (N,): places in the row whose hidden states predict the completion tokens, targets
    (N,) their ids; pair after pair, chosen before rejected. watched_N (N,), on the CPU: where the
    entropy is asked for.
    """

    input_ids_1T: Tensor
    position_ids_1T: Tensor
    segments: tuple[Segment, ...]
    predictors_N: Tensor
    targets_N: Tensor
    lengths_P2: Tensor
    watched_N: Tensor


def pack(
    pairs: Sequence[TrainingPair], device: torch.device, entropies_per_pair: int = 0
) -> PackedPairs:
    """The pairs in their order in one row on `device`; see PackedPairs for the shapes."""
    segments = tuple(_segments(pairs))
    lengths_P3 = np.array([(s.prompt, s.chosen, s.rejected) for s in segments])
    starts_P3 = np.array([(s.start, s.start + s.prompt, s.fork) for s in segments])
    counts = lengths_P3.ravel()
    ids_T = np.fromiter(chain.from_iterable(_parts(pairs)), np.int64, int(counts.sum()))
    place_T = np.arange(len(ids_T))
    # Positions count from 0 in a prompt, and go on from its length in either completion.
    moved_P3 = starts_P3 - lengths_P3[:, :1] * [0, 1, 1]
    predictor_T = place_T - 1
    forked = lengths_P3[:, 2] > 0
    predictor_T[starts_P3[forked, 2]] = starts_P3[forked, 1] - 1
    completion_T = np.repeat(np.tile([False, True, True], len(segments)), counts)

    def on_device(values: "np.ndarray[Any, Any]") -> Tensor:
        return torch.from_numpy(values).to(device)

    return PackedPairs(
        input_ids_1T=on_device(ids_T)[None],
        position_ids_1T=on_device(place_T - np.repeat(moved_P3.ravel(), counts))[None],
        segments=segments,
        predictors_N=on_device(predictor_T[completion_T]),
        targets_N=on_device(ids_T[completion_T]),
        lengths_P2=on_device(lengths_P3[:, 1:].copy()),
        watched_N=entropy.watched(pairs, entropies_per_pair),
    )


def _parts(pairs: Sequence[TrainingPair]) -> Iterator[list[int]]:
    for pair in pairs:
        yield from (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)


def _segments(pairs: Sequence[TrainingPair]) -> Iterator[Segment]:
    start = 0
    for pair in pairs:
        segment = Segment(start, len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids))
        yield segment
        start = segment.end
