"""Attention within packed pairs, for every model of transformers that takes it by name.

Each completion sees its prompt and itself, and never its rival or another pair. H query heads, T
tokens of the row, D their width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from dpo_core.training.packing import Segment

NAME = "ratchet_pairs"


class _Row:
    """The row that attention sees now, and the masks it has made for it."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.segments = segments
        self.device = device
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}

    def mask(self, queries: int, keys: int, window: int | None) -> Tensor:
        """(queries, keys) true where a query, one of the last positions, sees a key."""
        found = self._masks.get((queries, keys, window))
        if found is None:
            key_K = torch.arange(keys, device=self.device)
            query_Q1 = torch.arange(keys - queries, keys, device=self.device)[:, None]
            found = key_K <= query_Q1
            if window is not None:
                found &= query_Q1 - key_K < window
            self._masks[queries, keys, window] = found
        return found


_current: _Row | None = None


@contextmanager
def attending(segments: Sequence[Segment], device: torch.device) -> Iterator[None]:
    """Within, forward and backward passes see these pairs."""
    global _current
    before, _current = _current, _Row(segments, device)
    try:
        yield
    finally:
        _current = before


def segment_attention(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """(1, T, H, D) as transformers' attention functions return it. Dropout is off in DPO."""
    row = _current
    assert row is not None, "segment attention is used outside of `attending`"
    groups = query_1HTD.shape[1] // key_1KTD.shape[1]
    if groups > 1:
        key_1KTD = key_1KTD.repeat_interleave(groups, 1)
        value_1KTD = value_1KTD.repeat_interleave(groups, 1)

    def attend(queries: slice, *seen: slice) -> Tensor:
        query = query_1HTD[:, :, queries]
        key, value = (
            torch.cat([x[:, :, s] for s in seen], 2) if len(seen) > 1 else x[:, :, seen[0]]
            for x in (key_1KTD, value_1KTD)
        )
        count, length = query.shape[2], key.shape[2]
        window = sliding_window if sliding_window and sliding_window < length else None
        if softcap is not None:
            return _capped(query, key, value, row.mask(count, length, window), scaling, softcap)
        if window is None and count == length:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
        mask = row.mask(count, length, window)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)

    parts = []
    for segment in row.segments:
        whole = slice(segment.start, segment.fork)
        parts.append(attend(whole, whole))
        if segment.rejected:
            prompt = slice(segment.start, segment.start + segment.prompt)
            rejected = slice(segment.fork, segment.end)
            parts.append(attend(rejected, prompt, rejected))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def _capped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None, cap: float
) -> Tensor:
    """Attention whose scores are squeezed into (−cap, cap), as Gemma 2 does."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = cap * torch.tanh(query @ key.transpose(2, 3) * scale / cap)
    scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value


def _no_mask(*_: Any, **__: Any) -> None:
    """transformers makes no mask: segment attention has its own."""


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, _no_mask)
