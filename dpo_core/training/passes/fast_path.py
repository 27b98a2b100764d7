"""The fast path: packed without padding, each prompt once, the head at completion tokens only.

T tokens of the packed row, N completion tokens, H hidden width.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from dpo_core.training.attention import segment_attention
from dpo_core.training.pairs.batching import PromptGroup, TrainingPair
from dpo_core.training.passes.fused_head import (
    Head,
    frozen_head_logps,
    head_backward,
    head_logps,
)
from dpo_core.training.passes.fused_layers import FusedLayers
from dpo_core.training.passes.packing import PackedRow, pack
from dpo_core.training.passes.pass_over_pairs import Enter, Slopes, TokenLogps
from dpo_core.training.processes.sharded import head_loss
from dpo_core.training.runtime import Runtime

_THREAD_ROWS = 256
"""Tokens whose logits one of several threads holds at a time: as fast as 512, with half the memory.
With 64 SmolLM2's log-probs take a fifth longer."""


class FastPath:
    """A PairPath for models like Llama. frozen: log-probs only, no backward."""

    name = "fast"

    def __init__(
        self,
        model: Any,
        runtime: Runtime,
        *,
        head_rows: int,
        collisions: bool = False,
        entropies_per_pair: int = 0,
        enter: Enter | None = None,
        frozen: bool = False,
    ) -> None:
        self.model = model
        self.runtime = runtime
        self.head_rows = head_rows
        # The layers of a sharded model have their weights only while they run.
        self.layers = FusedLayers(model) if enter is None else None
        self._room_RV: Tensor | None = None
        self.collisions = collisions
        self.entropies_per_pair = entropies_per_pair
        self.enter = enter
        self.frozen = frozen
        model.set_attn_implementation(segment_attention.NAME)

    def for_thread(self) -> "FastPath":
        """The same for one of several threads that share the model: with logits of its own, and
        without replacing layers, which is done once for all of them."""
        own = copy.copy(self)
        own.layers, own._room_RV, own.head_rows = None, None, _THREAD_ROWS
        return own

    def tokens(self, groups: Sequence[PromptGroup]) -> int:
        return sum(group.tokens for group in groups)

    def padding(self, groups: Sequence[PromptGroup]) -> int:
        return 0

    @torch.no_grad()
    def logps(self, groups: Sequence[PromptGroup]) -> TokenLogps:
        packed = pack(groups, self.runtime.device, self.entropies_per_pair)
        compute_logps = frozen_head_logps if self.frozen else head_logps

        def run() -> TokenLogps:
            return compute_logps(self._hidden(packed), self._head(), packed)

        with self._ready_for(packed):
            return run() if self.enter is None else self.enter(run)

    def backward(self, pairs: Sequence[TrainingPair], slopes: Slopes) -> None:
        packed = pack(pairs, self.runtime.device, self.entropies_per_pair)

        def chunk_slopes(chunk: slice, tokens: TokenLogps) -> Tensor:
            return slopes(pairs[chunk], tokens)

        def loss() -> Tensor:
            return head_loss(self._hidden(packed), self._head(), packed, chunk_slopes)

        with self._ready_for(packed):
            if self.enter is not None:
                torch.autograd.backward(self.enter(loss))
                return
            hidden_TH = self._hidden(packed)
            gradient_TH = head_backward(hidden_TH.detach(), self._head(), packed, chunk_slopes)
            torch.autograd.backward(hidden_TH, gradient_TH)

    @contextmanager
    def _ready_for(self, packed: PackedRow) -> Iterator[None]:
        with (
            segment_attention.attending(packed.segments, self.runtime.device, frozen=self.frozen),
            nullcontext() if self.layers is None else self.layers.in_use(),
        ):
            yield

    def _head(self) -> Head:
        """The head with its current weights, which for a sharded model come and go."""
        if self._room_RV is None:
            vocabulary = self.model.get_output_embeddings().weight.shape[0]
            self._room_RV = torch.empty(self.head_rows, vocabulary, device=self.runtime.device)
        dtype = self.runtime.compute_dtype
        return Head.from_model(self.model, dtype, self._room_RV, collisions=self.collisions)

    def _hidden(self, packed: PackedRow) -> Tensor:
        """(T, H) last hidden states."""
        with self.runtime.autocast():
            output = self.model.base_model(
                input_ids=packed.input_ids_1T,
                position_ids=packed.position_ids_1T,
                use_cache=False,
            )
        hidden_TH: Tensor = output.last_hidden_state[0]
        return hidden_TH
