"""Attention within short packed pairs by dense products in bfloat16, backward included.

H query heads; K key heads, each shared by G = H/K query heads; T tokens of the row; D width of a
head; R query rows, S keys that they see.

Scores and their softmax are float32, all other products bfloat16, as in torch's flash kernel. That
kernel multiplies small blocks: for pairs of about 200 tokens it takes three times as long, in
float32 twice as long. Attention weights are kept for backward, so memory grows with S: see LONGEST.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_core.training.passes.packing import Segment, attended

LONGEST = 384
"""Longest sequence, in tokens, for this kernel: with nine heads its attention weights then take as
much memory as two values of an inner width of 1,536."""


def short(segments: Sequence[Segment]) -> bool:
    """Whether all sequences are short enough for this kernel."""
    return all(s.longest <= LONGEST for s in segments)


class DenseSegments(torch.autograd.Function):
    """apply(query (1, H, T, D), key, value (1, K, T, D), segments, scale) -> (1, H, T, D), in the
    dtype of `value`."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Sequence[Segment],
        scale: float | None,
    ) -> Tensor:
        dtype, blocks = value.dtype, list(attended(segments))
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scaled, key32 = query.float() * scale, key.float()
        longest = max(rows.stop - rows.start for rows, _ in blocks)
        later = query.new_full((longest, longest), -torch.inf, dtype=torch.float32).triu(1)
        # In token order, as the layer's last product takes it.
        out = value.new_empty(1, *(query.shape[i] for i in (2, 1, 3))).transpose(1, 2)
        weights = []
        for rows, seen in blocks:
            count = rows.stop - rows.start
            scores = _by_key_head(scaled, rows, key.shape[1]) @ _join(key32, seen).mT
            by_head_HRS = scores.view(query.shape[1], count, -1)
            by_head_HRS[..., -count:].add_(later[:count, :count])
            weights.append(scores.softmax(-1).to(dtype))
            _put(out, rows, weights[-1] @ _join(value, seen))
        ctx.save_for_backward(scaled.to(dtype), key.to(dtype), value, *weights)
        ctx.blocks, ctx.scale = blocks, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled, key, value, *weights = ctx.saved_tensors
        by_query, by_key, by_value = [torch.empty_like(x) for x in (scaled, key, value)]
        for (rows, seen), weights_KRS in zip(ctx.blocks, weights, strict=True):
            queries, by_out = (_by_key_head(x, rows, key.shape[1]) for x in (scaled, gradients[0]))
            keys, values = _join(key, seen), _join(value, seen)
            by_weights = by_out @ values.mT
            by_scores = torch._softmax_backward_data(by_weights, weights_KRS, -1, value.dtype)
            _put(by_query, rows, by_scores @ keys)
            _add_to_keys(by_key, rows, seen, by_scores.mT @ queries)
            _add_to_keys(by_value, rows, seen, weights_KRS.mT @ by_out)
        return by_query.mul_(ctx.scale), by_key, by_value, None, None


def _by_key_head(x_1HTD: Tensor, rows: slice, key_heads: int) -> Tensor:
    """(K, G·R, D) of these rows, with the query heads that share a key head stacked."""
    return x_1HTD[0, :, rows].reshape(key_heads, -1, x_1HTD.shape[-1])


def _join(x_1KTD: Tensor, blocks: Sequence[slice]) -> Tensor:
    """(K, S, D) of these blocks."""
    parts = [x_1KTD[0, :, block] for block in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _put(place_1HTD: Tensor, rows: slice, values: Tensor) -> None:
    part_HRD = place_1HTD[0, :, rows]
    part_HRD.copy_(values.view(part_HRD.shape))


def _add_to_keys(
    place_1KTD: Tensor, rows: slice, blocks: Sequence[slice], gradient_KSD: Tensor
) -> None:
    """Write the gradient of keys that are seen by their own rows; add it for those of a prompt,
    which each completion after the first sees again."""
    parts = torch.split(gradient_KSD, [block.stop - block.start for block in blocks], 1)
    for block, part in zip(blocks, parts, strict=True):
        if block == rows:
            place_1KTD[0, :, block] = part
        else:
            place_1KTD[0, :, block] += part
