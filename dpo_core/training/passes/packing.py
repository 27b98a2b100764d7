"""Packs prompts and completions into one row of tokens: no padding, each prompt once.

T tokens of the row, N completion tokens, Q parts: each group's prompt and its completions. A pair
lies as [prompt | chosen | rejected]; positions of every completion continue the prompt's, and the
last token of the prompt predicts the first token of each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.training.pairs.batching import PromptGroup
from dpo_core.training.passes import entropy


@dataclass(frozen=True)
class Segment:
    """The place of one group in the row, and the lengths of its parts in tokens."""

    start: int
    prompt: int
    completions: tuple[int, ...]

    @property
    def fork(self) -> int:
        """End of the first completion; up to here the group is one plain sequence."""
        return self.start + self.prompt + self.completions[0]

    @property
    def others(self) -> Iterator[slice]:
        """Places of the completions after the first, without empty ones."""
        start = self.fork
        for tokens in self.completions[1:]:
            if tokens:
                yield slice(start, start + tokens)
            start += tokens

    @property
    def end(self) -> int:
        return self.start + self.prompt + self.predictions

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, prompt included."""
        return self.prompt + max(self.completions)

    @property
    def predictions(self) -> int:
        """Completion tokens of the group."""
        return sum(self.completions)


def attended(segments: Sequence[Segment]) -> Iterator[tuple[slice, list[slice]]]:
    """Yield (query rows, blocks of keys they see). Within the rows themselves they see causally."""
    for segment in segments:
        whole = slice(segment.start, segment.fork)
        yield whole, [whole]
        prompt = slice(segment.start, segment.start + segment.prompt)
        for other in segment.others:
            yield other, [prompt, other]


@dataclass(frozen=True)
class PackedRow:
    """A packed row of groups.

    predictors_N: places whose hidden states predict the completion tokens. targets_N: ids of these
    tokens, group after group, completions in order. watched_N, on the CPU: tokens whose entropy is
    measured.
    """

    input_ids_1T: Tensor
    position_ids_1T: Tensor
    segments: tuple[Segment, ...]
    predictors_N: Tensor
    targets_N: Tensor
    watched_N: Tensor


def pack(
    groups: Sequence[PromptGroup], device: torch.device, entropies_per_pair: int = 0
) -> PackedRow:
    """Pack the groups, in order, into one row on `device`."""
    segments = tuple(_segments(groups))
    lengths_Q = np.array([n for s in segments for n in (s.prompt, *s.completions)])
    starts_Q = lengths_Q.cumsum() - lengths_Q
    # Per part: its place in the group, the part that is its prompt, tokens before it.
    places_Q = np.concatenate([np.arange(1 + len(s.completions)) for s in segments])
    completes_Q = places_Q > 0
    prompts_Q = np.arange(len(places_Q)) - places_Q
    before_Q = lengths_Q[prompts_Q] * completes_Q
    ids_T = np.fromiter(chain.from_iterable(_parts(groups)), np.int64, int(lengths_Q.sum()))
    place_T = np.arange(len(ids_T))
    predictor_T = place_T - 1
    begun_Q = completes_Q & (lengths_Q > 0)
    predictor_T[starts_Q[begun_Q]] = (starts_Q + lengths_Q)[prompts_Q[begun_Q]] - 1
    completion_T = np.repeat(completes_Q, lengths_Q)

    def on_device(values: "np.ndarray[Any, Any]") -> Tensor:
        return torch.from_numpy(values).to(device)

    return PackedRow(
        input_ids_1T=on_device(ids_T)[None],
        position_ids_1T=on_device(place_T - np.repeat(starts_Q - before_Q, lengths_Q))[None],
        segments=segments,
        predictors_N=on_device(predictor_T[completion_T]),
        targets_N=on_device(ids_T[completion_T]),
        watched_N=entropy.watch_mask(groups, entropies_per_pair),
    )


def _parts(groups: Sequence[PromptGroup]) -> Iterator[list[int]]:
    for group in groups:
        yield from (group.prompt_ids, *group.completions)


def _segments(groups: Sequence[PromptGroup]) -> Iterator[Segment]:
    start = 0
    for group in groups:
        segment = Segment(start, len(group.prompt_ids), tuple(map(len, group.completions)))
        yield segment
        start = segment.end
