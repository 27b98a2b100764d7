"""The plain path: whole sequences, padded, one model call. It works for every model.

B sequences, T positions, K of them from the first one that predicts a completion token, N
completion tokens, V vocabulary.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_core.preference.pair_logps import completion_token_logps
from dpo_core.training.pairs.batching import (
    PairBatch,
    PromptGroup,
    TrainingPair,
    collate,
    sequence_lengths,
)
from dpo_core.training.passes import entropy
from dpo_core.training.passes.pass_over_pairs import Enter, Slopes, TokenLogps
from dpo_core.training.passes.rope_lengths import RopeLengths
from dpo_core.training.runtime import Runtime


class PlainPath:
    """A PairPath for any model."""

    name = "plain"

    def __init__(
        self,
        model: Any,
        runtime: Runtime,
        *,
        collisions: bool = False,
        entropies_per_pair: int = 0,
        enter: Enter | None = None,
    ) -> None:
        self.model = model
        self.enter = enter
        self.runtime = runtime
        self.collisions = collisions
        self.entropies_per_pair = entropies_per_pair
        self.rope = RopeLengths(model)

    def tokens(self, groups: Sequence[PromptGroup]) -> int:
        lengths = sequence_lengths(groups)
        return len(lengths) * max(lengths)

    def padding(self, groups: Sequence[PromptGroup]) -> int:
        return self.tokens(groups) - sum(sequence_lengths(groups))

    @torch.no_grad()
    def logps(self, groups: Sequence[PromptGroup]) -> TokenLogps:
        with self.rope.for_lengths(sequence_lengths(groups)):
            if self.enter is not None:
                return self.enter(lambda: self._forward(groups))
            return self._forward(groups)

    def backward(self, pairs: Sequence[TrainingPair], slopes: Slopes) -> None:
        def loss() -> Tensor:
            tokens = self._forward(pairs)
            return tokens.logps_N @ slopes(pairs, tokens.detached())

        with self.rope.for_lengths(sequence_lengths(pairs)):
            torch.autograd.backward(loss() if self.enter is None else self.enter(loss))

    def _forward(self, groups: Sequence[PromptGroup]) -> TokenLogps:
        batch = collate(groups, self.runtime.device)
        first = batch.first_prediction
        ids_BK, mask_BK = batch.input_ids_BT[:, first:], batch.completion_mask_BT[:, first:]
        with self.runtime.autocast():
            logits_BKV = _logits_from(self.model, batch, first)
        logps_N = completion_token_logps(logits_BKV, ids_BK, mask_BK)
        return TokenLogps(
            logps_N,
            _collisions(logits_BKV, mask_BK) if self.collisions else None,
            self._entropies(groups, logits_BKV, mask_BK) if self.entropies_per_pair else None,
        )

    @torch.no_grad()
    def _entropies(
        self, groups: Sequence[PromptGroup], logits_BKV: Tensor, mask_BK: Tensor
    ) -> Tensor:
        """(N,) entropies at watched tokens, NaN elsewhere."""
        watched_N = entropy.watch_mask(groups, self.entropies_per_pair).to(mask_BK.device)
        rows_W = _predicting_rows(mask_BK)[watched_N]
        logits_WV = logits_BKV.flatten(0, 1).index_select(0, rows_W)
        return entropy.scatter(entropy.from_logits(logits_WV), watched_N)


def _logits_from(model: Any, batch: PairBatch, first: int) -> Any:
    """(B, K, V) logits from position `first` on; the head skips earlier ones where it can."""
    count = batch.input_ids_BT.shape[1] - first
    inputs = {"input_ids": batch.input_ids_BT, "attention_mask": batch.attention_mask_BT}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(**inputs, use_cache=False, logits_to_keep=count).logits
    return model(**inputs, use_cache=False).logits[:, first:]


@torch.no_grad()
def _collisions(logits_BKV: Tensor, mask_BK: Tensor) -> Tensor:
    """(N,) log Σ_v π(v)² at the positions that predict completion tokens."""
    logits_NV = logits_BKV.flatten(0, 1).index_select(0, _predicting_rows(mask_BK)).float()
    return (2 * logits_NV).logsumexp(-1) - 2 * logits_NV.logsumexp(-1)


def _predicting_rows(mask_BK: Tensor) -> Tensor:
    """(N,) rows of the flattened logits that predict the completion tokens."""
    return mask_BK.flatten().nonzero()[:, 0] - 1
