"""Attention within packed groups by torch's flash kernel for CPUs, backward included.

H query heads; K key heads, each shared by G = H/K query heads; T tokens of the row; D width of a
head; R query rows, S key rows of one block.

A completion after the first sees its prompt and itself. These are two calls of the kernel, joined
by their log-sum-exps as blocks of one softmax (Dao et al. 2022, arXiv:2205.14135, section 3.1).
Given the joined output and log-sum-exp, the kernel's backward is exact for each. Autograd over
slices of the row would need a mask, copies of keys, and a gradient of the row's length per slice.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpo_core.training.passes.packing import Segment, attended

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class FlashSegments(torch.autograd.Function):
    """apply(query (1, H, T, D), key, value (1, K, T, D), segments, scale) -> (1, H, T, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: Sequence[Segment],
        scale: float | None,
    ) -> Tensor:
        out = torch.empty_like(query)
        q, k, v, o = _by_key_head(query, key, value, out)
        sums = []
        for rows, blocks in attended(segments):
            parts = [
                _forward(q[:, :, rows], k[:, :, b], v[:, :, b], 0.0, b == rows, scale=scale)
                for b in blocks
            ]
            o[:, :, rows], total = parts[0] if len(parts) == 1 else _join(parts)
            sums.append(total)
        ctx.save_for_backward(query, key, value, out, *sums)
        ctx.segments, ctx.scale = segments, scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, *sums = ctx.saved_tensors
        slopes = [torch.empty_like(x) for x in (query, key, value)]
        q, k, v, o, g = _by_key_head(query, key, value, out, gradients[0])
        by_q, by_k, by_v = slopes[0][0].view(q.shape), slopes[1][0], slopes[2][0]
        for (rows, blocks), total in zip(attended(ctx.segments), sums, strict=True):
            r = g[:, :, rows], q[:, :, rows]
            for number, b in enumerate(blocks):
                inputs = *r, k[:, :, b], v[:, :, b], o[:, :, rows], total
                dq, dk, dv = _backward(*inputs, 0.0, b == rows, scale=ctx.scale)
                # Keys are first seen by their own rows; those of a prompt by completions later.
                _put(by_q[:, :, rows], dq, add=number > 0)
                _put(by_k[:, b], _over_queries(dk), add=b != rows)
                _put(by_v[:, b], _over_queries(dv), add=b != rows)
        return *slopes, None, None


def _over_queries(slopes: Tensor) -> Tensor:
    """(K, G, S, D) → (K, S, D): the sum over the query heads of each key head."""
    return slopes[:, 0] if slopes.shape[1] == 1 else slopes.sum(1)


def _put(place: Tensor, values: Tensor, *, add: bool) -> None:
    place.add_(values) if add else place.copy_(values)


def _by_key_head(
    query: Tensor, key: Tensor, value: Tensor, *like_query: Tensor
) -> tuple[Tensor, ...]:
    """Views (K, G, T, D): key heads beside the query heads that share them, without copies."""
    heads = key.shape[1], query.shape[1] // key.shape[1], *query.shape[2:]
    q, *others = (x[0].view(heads) for x in (query, *like_query))
    k, v = (x[0][:, None].expand(heads) for x in (key, value))
    return q, k, v, *others


def _join(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(output (K, G, R, D), log-sum-exp (K, G, R)) of one softmax over both parts' keys."""
    (first, first_sum), (second, second_sum) = parts
    total = torch.logaddexp(first_sum, second_sum)
    out = first * (first_sum - total).exp()[..., None]
    return out.addcmul_(second, (second_sum - total).exp()[..., None]), total
