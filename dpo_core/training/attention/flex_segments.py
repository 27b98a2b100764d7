"""Attention within packed groups on GPUs, by torch's flex attention: one fused kernel per row.

T tokens of the row, H query heads, K key heads, D their width. Blocks of 128 by 128 in which no
token sees another are skipped (Dong et al. 2024, arXiv:2412.05496), so the cost is that of
attention within groups.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils._triton import has_triton

from dpo_core.training.passes.packing import Segment

_BLOCK = 128
_ROWS = 8 * _BLOCK
"""Query tokens whose visible keys are computed at a time."""

Sees = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""sees(batch, head, query, key): whether the token at `query` sees the one at `key`."""


def available(device: torch.device) -> bool:
    """Whether the fused kernel can be compiled on this device."""
    return device.type == "cuda" and has_triton()


def visibility(segments: Sequence[Segment], window: int | None, device: torch.device) -> Sees:
    """Which tokens of the row see which: earlier ones of their group, but not of a rival.

    window: most keys that a query sees, counted by positions, where every completion follows its
    prompt.

    Everything, the window too, is a tensor over tokens: torch compiles a kernel per kind of tensor,
    and after eight kinds falls back, with only a warning, to computing all scores at once.
    """
    tokens = [token for number, s in enumerate(segments) for token in _tokens(number, s)]
    groups, forks, positions, starts = torch.tensor(tokens, device=device).unbind(1)
    beyond = positions - (len(tokens) if window is None else window)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        rival = (forks[query] > forks[key]) & (key >= starts[key])
        near = positions[key] > beyond[query]
        return (groups[query] == groups[key]) & (key <= query) & ~rival & near

    return sees


def _tokens(number: int, segment: Segment) -> list[tuple[int, int, int, int]]:
    """(group, completion, position, place of the first completion in the row) of each token of a
    group. The prompt counts as part of the first completion."""
    start = segment.start + segment.prompt
    return [(number, 0, position, start) for position in range(segment.prompt)] + [
        (number, fork, segment.prompt + i, start)
        for fork, tokens in enumerate(segment.completions)
        for i in range(tokens)
    ]


def blocks(segments: Sequence[Segment], window: int | None, device: torch.device) -> BlockMask:
    """The visible blocks of the row, made once for all layers with the same window.

    It equals torch's `create_block_mask`, but some rows of blocks at a time: at once that takes 2.6
    GB for 16,384 tokens, and four times as much for twice as many.
    """
    tokens, sees = segments[-1].end, visibility(segments, window, device)
    place_T = torch.arange(tokens, device=device)
    strips = [place_T[start : start + _ROWS] for start in range(0, tokens, _ROWS)]
    seen = torch.cat([_seen(sees, query_R, place_T) for query_R in strips])
    partly, whole = (seen > 0) & (seen < _BLOCK**2), seen == _BLOCK**2
    return BlockMask.from_kv_blocks(
        *_in_order(partly),
        *_in_order(whole),
        BLOCK_SIZE=_BLOCK,
        mask_mod=sees,
        seq_lengths=(tokens, tokens),
    )


def _seen(sees: Sees, query_R: Tensor, key_T: Tensor) -> Tensor:
    """(blocks of queries, blocks of keys): number of visible (query, key) pairs in each block."""
    seen_RT = sees(query_R, query_R, query_R[:, None], key_T)
    padded_RT = functional.pad(seen_RT, (0, -len(key_T) % _BLOCK, 0, -len(query_R) % _BLOCK))
    rows, columns = (size // _BLOCK for size in padded_RT.shape)
    return padded_RT.view(rows, _BLOCK, columns, _BLOCK).sum((1, 3))


def _in_order(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(count per row, indices with true blocks first), as flex attention takes them."""
    ones = blocks.int()[None, None]
    return ones.sum(-1).int(), ones.argsort(dim=-1, descending=True, stable=True).int()


def flex_segments(
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    mask: BlockMask,
    *,
    scale: float | None,
    softcap: float | None,
) -> Tensor:
    """(1, H, T, D); softcap: scores are squeezed into (−softcap, softcap), as in Gemma 2."""
    out: Tensor = _compiled()(
        query_1HTD,
        key_1KTD,
        value_1KTD,
        score_mod=None if softcap is None else partial(_capped, softcap),
        block_mask=mask,
        scale=scale,
        enable_gqa=query_1HTD.shape[1] != key_1KTD.shape[1],
    )
    return out


def _capped(cap: float, score: Tensor, *_: Tensor) -> Tensor:
    return cap * torch.tanh(score / cap)


@cache
def _compiled() -> Callable[..., Any]:
    # dynamic: one kernel for rows of all lengths.
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=True)
    return compiled
