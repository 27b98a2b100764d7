"""Attention within packed pairs, for every model of transformers that takes it by name.

Each completion sees its prompt and itself, and never its rival or another pair. H query heads, K
key heads, T tokens of the row, D their width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from dpo_core.training.attention import flex_segments
from dpo_core.training.attention.flash_segments import FlashSegments
from dpo_core.training.attention.sliced_segments import sliced_segments
from dpo_core.training.passes.packing import Segment

NAME = "ratchet_pairs"


class _Row:
    """The row that attention sees now, the masks it has made for it, how often it was called."""

    def __init__(self, segments: Sequence[Segment], device: torch.device) -> None:
        self.segments = segments
        self.device = device
        self.attended = 0
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}
        self._blocks: dict[int | None, Any] = {}

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

    def narrow(self, window: int | None) -> bool:
        """Whether a token of the row sees less than all that is before it in its sequence."""
        longest = max(s.prompt + max(s.chosen, s.rejected) for s in self.segments)
        return window is not None and window < longest

    def blocks(self, window: int | None) -> Any:
        """What flex attention leaves out."""
        if window not in self._blocks:
            self._blocks[window] = flex_segments.blocks(self.segments, window, self.device)
        return self._blocks[window]


_current: _Row | None = None


@contextmanager
def attending(segments: Sequence[Segment], device: torch.device) -> Iterator[None]:
    """Within, forward and backward passes see these pairs.

    Raises NotImplementedError when no layer of the model asked for this attention.
    """
    global _current
    before, _current = _current, _Row(segments, device)
    try:
        yield
        if not _current.attended:
            raise NotImplementedError("its attention cannot be selected by name")
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
    row.attended += 1
    inputs = _in_one_dtype(query_1HTD, key_1KTD, value_1KTD)
    if flex_segments.available(row.device):
        blocks = row.blocks(sliding_window)
        out = flex_segments.flex_segments(*inputs, blocks, scale=scaling, softcap=softcap)
    elif row.device.type == "cpu" and softcap is None and not row.narrow(sliding_window):
        out = FlashSegments.apply(*inputs, row.segments, scaling)  # type: ignore[no-untyped-call]
    else:
        out = sliced_segments(
            *inputs,
            row.segments,
            row.mask,
            scale=scaling,
            window=sliding_window,
            softcap=softcap,
        )
    return out.transpose(1, 2).contiguous(), None


def _in_one_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As autocast gives them to torch's own attention: rotated by float32, queries are float32."""
    device = query.device.type
    if not torch.is_autocast_enabled(device):
        return query, key, value
    dtype = torch.get_autocast_dtype(device)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def _no_mask(*_: Any, **__: Any) -> None:
    """transformers makes no mask: segment attention has its own."""


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, _no_mask)
