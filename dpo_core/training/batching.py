"""From preference files to batches of token ids.

B = 2·pair sequences, each pair's chosen before its rejected one, T positions. Sequences are padded
on the right, so positions count from 0 and masks follow from lengths.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpo_core.errors import BadInput, RatchetError
from dpo_core.hashing import derive_seed
from dpo_core.tables import batched, iterate_rows


@dataclass(frozen=True)
class TrainingPair:
    """Token ids of one preference, exactly as sampled: EOS is there when the policy emitted it.

    sampled_logps: (chosen, rejected) log-probs that the sampler returned, nats; None where unknown.
    p_chosen: probability that the chosen completion is the better one.
    """

    pair_id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    sampled_logps: tuple[float, float] | None = None
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


def load_pairs(preferences: Path, completions: Path) -> list[TrainingPair]:
    """The pairs of a preference file with the token ids that were sampled for them.

    Raises RatchetError when there are none, and BadInput when a row cannot be trained on.
    """
    rows = list(iterate_rows(preferences, ["pair_id", "chosen", "rejected", "p_chosen"]))
    if not rows:
        raise RatchetError(
            "the round has no preferences to train on",
            "Lower pairs.min_margin, or raise sampling.samples_per_prompt or prompts.per_round.",
        )
    needed = {row[side] for row in rows for side in ("chosen", "rejected")}
    columns = ["completion_id", "prompt_token_ids", "token_ids", "token_logps"]
    sampled = {
        row["completion_id"]: row
        for row in iterate_rows(completions, columns)
        if row["completion_id"] in needed
    }
    if missing := needed - sampled.keys():
        raise BadInput(
            f"{preferences} names completion {min(missing)}, which {completions} does not hold "
            f"({len(missing)} such completions)"
        )
    return [_pair(row, sampled[row["chosen"]], sampled[row["rejected"]]) for row in rows]


def _pair(
    preference: Mapping[str, Any], chosen: Mapping[str, Any], rejected: Mapping[str, Any]
) -> TrainingPair:
    pair_id = preference["pair_id"]
    if chosen["prompt_token_ids"] != rejected["prompt_token_ids"]:
        raise BadInput(f"the completions of pair {pair_id} answer different prompts")
    if not chosen["prompt_token_ids"]:
        raise BadInput(
            f"the prompt of pair {pair_id} has no tokens, so nothing predicts the first token of "
            "its completions",
            "Drop empty prompts, or use a tokenizer that adds BOS.",
        )
    known = chosen["token_logps"] is not None and rejected["token_logps"] is not None
    return TrainingPair(
        pair_id,
        chosen["prompt_token_ids"],
        chosen["token_ids"],
        rejected["token_ids"],
        (sum(chosen["token_logps"]), sum(rejected["token_logps"])) if known else None,
        preference["p_chosen"],
    )


def optimiser_steps(
    pairs: Sequence[TrainingPair], pairs_per_step: int, seed: int, epoch: int
) -> Iterator[list[TrainingPair]]:
    """The pairs of each optimiser step of one epoch; the last step takes what is left.

    The order follows from the seed, the epoch and the pairs' ids, not from the file's order.
    """
    ids = [pair.pair_id for pair in pairs]
    order = sorted(
        range(len(ids)), key=lambda i: (derive_seed(seed, "order", epoch, ids[i]), ids[i])
    )
    for step in batched(order, pairs_per_step):
        yield [pairs[i] for i in step]


def collate(pairs: Sequence[TrainingPair], device: torch.device) -> PairBatch:
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
