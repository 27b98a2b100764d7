"""Pairs in one row of tokens, without padding, each prompt once.

T tokens of the row, N completion tokens; `pair` is the number of pairs. A pair lies as
[prompt | chosen | rejected]; positions of the rejected completion continue the prompt's, and the
last token of the prompt predicts the first token of both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpo_core.training.batching import TrainingPair


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


@dataclass(frozen=True)
class PackedPairs:
    """input_ids, position_ids (1, T); lengths (pair, 2) of chosen and rejected completions.

    predictors (N,): places in the row whose hidden states predict the completion tokens, targets
    (N,) their ids; pair after pair, chosen before rejected.
    """

    input_ids_1T: Tensor
    position_ids_1T: Tensor
    segments: tuple[Segment, ...]
    predictors_N: Tensor
    targets_N: Tensor
    lengths_P2: Tensor


def pack(pairs: Sequence[TrainingPair], device: torch.device) -> PackedPairs:
    segments = tuple(_segments(pairs))
    ids = [i for p in pairs for i in (*p.prompt_ids, *p.chosen_ids, *p.rejected_ids)]
    targets = [i for p in pairs for i in (*p.chosen_ids, *p.rejected_ids)]
    return PackedPairs(
        input_ids_1T=torch.tensor([ids], device=device),
        position_ids_1T=torch.cat([_positions(s) for s in segments])[None].to(device),
        segments=segments,
        predictors_N=torch.cat([_predictors(s) for s in segments]).to(device),
        targets_N=torch.tensor(targets, device=device),
        lengths_P2=torch.tensor([(s.chosen, s.rejected) for s in segments], device=device),
    )


def _segments(pairs: Sequence[TrainingPair]) -> Iterator[Segment]:
    start = 0
    for pair in pairs:
        segment = Segment(start, len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids))
        yield segment
        start = segment.end


def _positions(segment: Segment) -> Tensor:
    rejected = torch.arange(segment.prompt, segment.prompt + segment.rejected)
    return torch.cat((torch.arange(segment.prompt + segment.chosen), rejected))


def _predictors(segment: Segment) -> Tensor:
    last = segment.start + segment.prompt - 1
    chosen = torch.arange(last, last + segment.chosen)
    rejected = torch.arange(segment.fork - 1, segment.fork - 1 + segment.rejected)
    if segment.rejected:
        rejected[0] = last
    return torch.cat((chosen, rejected))
