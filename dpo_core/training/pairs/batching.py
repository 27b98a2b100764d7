"""Batches of token ids from pairs.

B sequences, T positions: the completions of each prompt in order, a pair's chosen before its
rejected one. Sequences are padded on the right, so positions count from 0 and masks follow from
lengths.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dpo_core.hashing import derive_seed
from dpo_core.tables import batched


class PromptGroup(Protocol):
    """Token ids of a prompt and its completions: the two of a pair, or any number."""

    @property
    def id(self) -> str: ...
    @property
    def prompt_ids(self) -> list[int]: ...
    @property
    def completions(self) -> Sequence[list[int]]: ...
    @property
    def tokens(self) -> int:
        """Tokens of the prompt and all completions."""

    @property
    def longest(self) -> int:
        """Tokens of the longest completion."""


@dataclass(frozen=True)
class Completions:
    """A PromptGroup of any number of completions."""

    id: str
    prompt_ids: list[int]
    completions: Sequence[list[int]]

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        return max(map(len, self.completions))


@dataclass(frozen=True)
class TrainingPair:
    """Token ids of one preference, exactly as sampled: EOS is included if the policy emitted it.

    sampled_logps: (chosen, rejected) log-probs from the policy's sampler, nats; None where unknown,
    such as for another model's answer.
    p_chosen: probability that the chosen completion is the better one.
    """

    pair_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    sampled_logps: tuple[float | None, float | None] = (None, None)
    p_chosen: float = 1.0

    @property
    def id(self) -> str:
        return self.pair_id

    @property
    def completions(self) -> tuple[list[int], list[int]]:
        return self.chosen_ids, self.rejected_ids

    @property
    def tokens(self) -> int:
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def longest(self) -> int:
        return max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True)
class PairBatch:
    """Padded sequences. first_prediction: first position that predicts a completion token."""

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    completion_mask_BT: Tensor
    first_prediction: int


def optimiser_steps(
    pairs: Sequence[TrainingPair], pairs_per_step: int, seed: int, epoch: int
) -> Iterator[list[TrainingPair]]:
    """Yield the pairs of each optimiser step of one epoch; the last step may have fewer.

    The order depends on seed, epoch and pair ids, not on the file's order.
    """
    for step in batched(_order(pairs, seed, epoch), pairs_per_step):
        yield [pairs[i] for i in step]


def _order(pairs: Sequence[TrainingPair], seed: int, epoch: int) -> "np.ndarray[Any, Any]":
    """Indices of the pairs, sorted by a hash of seed, epoch and id, then by id."""
    ids = [pair.pair_id for pair in pairs]
    keys = np.fromiter((derive_seed(seed, "order", epoch, i) for i in ids), np.int64, len(ids))
    order: np.ndarray[Any, Any] = np.lexsort((np.array(ids), keys))
    return order


def collate(groups: Sequence[PromptGroup], device: torch.device) -> PairBatch:
    """Pad the groups into one batch on `device`."""
    completions = [ids for g in groups for ids in g.completions]
    prompts = [g.prompt_ids for g in groups for _ in g.completions]
    input_ids_BT, ends_B = pad_sequences([a + b for a, b in zip(prompts, completions, strict=True)])
    starts_B = torch.tensor([len(prompt) for prompt in prompts])
    position_T = torch.arange(input_ids_BT.shape[1])
    attention_mask_BT = position_T < ends_B[:, None]
    return PairBatch(
        input_ids_BT=input_ids_BT.to(device),
        attention_mask_BT=attention_mask_BT.long().to(device),
        completion_mask_BT=(attention_mask_BT & (position_T >= starts_B[:, None])).to(device),
        first_prediction=int(starts_B.min()) - 1,
    )


def sequence_lengths(groups: Iterable[PromptGroup]) -> list[int]:
    """Tokens of each of the B sequences, prompt included."""
    return [len(g.prompt_ids) + len(ids) for g in groups for ids in g.completions]


def completion_lengths(pairs: Sequence[TrainingPair], device: torch.device) -> Tensor:
    """(pair, 2) tokens of the chosen and the rejected completions."""
    lengths = [(len(p.chosen_ids), len(p.rejected_ids)) for p in pairs]
    return torch.tensor(lengths, device=device)


def pad_sequences(sequences: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """(ids (B, T), padded with 0 on the right, lengths (B,))."""
    lengths = [len(sequence) for sequence in sequences]
    ids_BT = torch.zeros(len(sequences), max(lengths), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids_BT, torch.tensor(lengths)
