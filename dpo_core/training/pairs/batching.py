"""From pairs to batches of token ids.

B = 2·pair sequences, each pair's chosen before its rejected one, T positions. Sequences are padded
on the right, so positions count from 0 and masks follow from lengths.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpo_core.hashing import derive_seed
from dpo_core.tables import batched


@dataclass(frozen=True)
class TrainingPair:
    """Token ids of one preference, exactly as sampled: EOS is there when the policy emitted it.

    sampled_logps: (chosen, rejected) log-probs that the policy's sampler returned, nats; None where
    unknown, as of an answer that another model gave.
    p_chosen: probability that the chosen completion is the better one.
    """

    pair_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    sampled_logps: tuple[float | None, float | None] = (None, None)
    p_chosen: float = 1.0

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and both completions."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longer completion."""
        return max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True)
class PairBatch:
    """input_ids, attention_mask, completion_mask (B, T).

    first_prediction: the earliest position whose logits predict a completion token.
    """

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    completion_mask_BT: Tensor
    first_prediction: int


def optimiser_steps(
    pairs: Sequence[TrainingPair], pairs_per_step: int, seed: int, epoch: int
) -> Iterator[list[TrainingPair]]:
    """The pairs of each optimiser step of one epoch; the last step takes what is left.

    The order follows from the seed, the epoch and the pairs' ids, not from the file's order.
    """
    for step in batched(_order(pairs, seed, epoch), pairs_per_step):
        yield [pairs[i] for i in step]


def _order(pairs: Sequence[TrainingPair], seed: int, epoch: int) -> "np.ndarray[Any, Any]":
    """Places of the pairs by a hash of seed, epoch and id; equal hashes by the ids themselves."""
    ids = [pair.pair_id for pair in pairs]
    keys = np.fromiter((derive_seed(seed, "order", epoch, i) for i in ids), np.int64, len(ids))
    order: np.ndarray[Any, Any] = np.lexsort((np.array(ids), keys))
    return order


def collate(pairs: Sequence[TrainingPair], device: torch.device) -> PairBatch:
    """The pairs as one padded batch on `device`, each pair's chosen before its rejected one."""
    completions = [ids for p in pairs for ids in (p.chosen_ids, p.rejected_ids)]
    prompts = [p.prompt_ids for p in pairs for _ in range(2)]
    input_ids_BT, ends_B = padded([a + b for a, b in zip(prompts, completions, strict=True)])
    starts_B = torch.tensor([len(prompt) for prompt in prompts])
    position_T = torch.arange(input_ids_BT.shape[1])
    attention_mask_BT = position_T < ends_B[:, None]
    return PairBatch(
        input_ids_BT=input_ids_BT.to(device),
        attention_mask_BT=attention_mask_BT.long().to(device),
        completion_mask_BT=(attention_mask_BT & (position_T >= starts_B[:, None])).to(device),
        first_prediction=int(starts_B.min()) - 1,
    )


def sequence_lengths(pairs: Sequence[TrainingPair]) -> list[int]:
    """Tokens of each of the B sequences, prompt included."""
    return [len(p.prompt_ids) + len(ids) for p in pairs for ids in (p.chosen_ids, p.rejected_ids)]


def completion_lengths(pairs: Sequence[TrainingPair], device: torch.device) -> Tensor:
    """(pair, 2) tokens of the chosen and the rejected completions."""
    lengths = [(len(p.chosen_ids), len(p.rejected_ids)) for p in pairs]
    return torch.tensor(lengths, device=device)


def padded(sequences: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """(ids (B, T) padded with 0 on the right, lengths (B,))."""
    lengths = [len(sequence) for sequence in sequences]
    ids_BT = torch.zeros(len(sequences), max(lengths), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids_BT, torch.tensor(lengths)
