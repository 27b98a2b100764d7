"""Attention within packed groups by slices of the row, for all cases without a faster kernel.

H query heads, K key heads, T tokens of the row, D their width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dpo_core.training.passes.packing import Segment

Mask = Callable[[int, int, int | None], Tensor]
"""mask(queries, keys, window) -> (queries, keys), true where a query, one of the last positions,
sees a key."""


def sliced_segments(
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    segments: Sequence[Segment],
    mask: Mask,
    *,
    scale: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """(1, H, T, D); softcap: scores are squeezed into (−softcap, softcap), as in Gemma 2."""
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
        narrow = window if window and window < length else None
        if softcap is not None:
            return _capped(query, key, value, mask(count, length, narrow), scale, softcap)
        if narrow is None and count == length:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
        seen_QS = mask(count, length, narrow)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=seen_QS, scale=scale)

    parts = []
    for segment in segments:
        whole = slice(segment.start, segment.fork)
        parts.append(attend(whole, whole))
        prompt = slice(segment.start, segment.start + segment.prompt)
        parts += [attend(other, prompt, other) for other in segment.others]
    return torch.cat(parts, 2)


def _capped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None, cap: float
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = cap * torch.tanh(query @ key.transpose(2, 3) * scale / cap)
    scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value
