"""Attention within packed groups without gradients, on CPUs: a few matrix products per group.

torch's flash kernel multiplies 32 rows of one head at a time. For completions of a hundred tokens
that all see one prompt, that takes twice as long as whole matrices with their scores in memory.
Completions of similar length go side by side, so that little is computed for padding.

T tokens of the row, H query heads, K key heads, each shared by G = H/K query heads, D their width;
N sequences of at most L queries that see at most S keys each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpo_core.training.passes.packing import Segment

_SHORTEST = 0.75
"""Of the longest sequence of a batch: a shorter one begins the next batch."""


@dataclass(frozen=True)
class Batch:
    """Sequences side by side.

    queries, keys: (N·L,) and (N·S,) places in the row. real: (N·L,) false at padded queries.
    hidden: (L, S), −∞ where a query does not see a key, else 0.
    """

    queries: Tensor
    keys: Tensor
    real: Tensor
    hidden: Tensor


def batches(segments: Sequence[Segment], window: int | None, dtype: torch.dtype) -> list[Batch]:
    """The batches of a row: prompts, and completions with the prompt that they see.

    window: most keys that a query sees. dtype: of queries and keys.
    """
    return [_batch(s, *part, window, dtype) for s in segments for part in _parts(s)]


def _parts(segment: Segment) -> Iterator[tuple[int, list[slice]]]:
    """Yield (prompt keys that are seen, places of the queries) of sequences side by side: a prompt,
    completions of similar length, or both as one sequence for a single completion."""
    others = list(segment.others)
    if not others:
        yield 0, [slice(segment.start, segment.fork)]
        return
    prompt = slice(segment.start, segment.start + segment.prompt)
    yield 0, [prompt]
    first = [slice(prompt.stop, segment.fork)] if segment.completions[0] else []
    for alike in _by_length([*first, *others]):
        yield segment.prompt, alike


def _by_length(places: Sequence[slice]) -> Iterator[list[slice]]:
    """Longest first, those of similar length together."""
    alike: list[slice] = []
    for place in sorted(places, key=_length, reverse=True):
        if alike and _length(place) < _SHORTEST * _length(alike[0]):
            yield alike
            alike = []
        alike.append(place)
    yield alike


def _length(place: slice) -> int:
    length: int = place.stop - place.start
    return length


def _batch(
    segment: Segment, seen: int, sequences: list[slice], window: int | None, dtype: torch.dtype
) -> Batch:
    starts_N1 = torch.tensor([s.start for s in sequences])[:, None]
    counts_N1 = torch.tensor([s.stop - s.start for s in sequences])[:, None]
    own_L = torch.arange(int(counts_N1.max()))
    own_NL = starts_N1 + own_L.minimum(counts_N1 - 1)
    prompt_NP = (segment.start + torch.arange(seen)).expand(len(sequences), seen)
    position_S = torch.arange(seen + len(own_L))
    query_L1 = seen + own_L[:, None]
    sees_LS = position_S <= query_L1
    if window is not None:
        sees_LS &= query_L1 - position_S < window
    hidden_LS = torch.zeros(sees_LS.shape, dtype=dtype).masked_fill_(~sees_LS, -torch.inf)
    return Batch(
        queries=own_NL.flatten(),
        keys=torch.cat([prompt_NP, own_NL], 1).flatten(),
        real=(own_L < counts_N1).flatten(),
        hidden=hidden_LS,
    )


def batched_segments(
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    batches: Sequence[Batch],
    *,
    scale: float | None,
    softcap: float | None,
) -> Tensor:
    """(1, H, T, D); softcap: scores are squeezed into (−softcap, softcap), as in Gemma 2."""
    tokens, heads, width = query_1HTD.shape[2], query_1HTD.shape[1], query_1HTD.shape[3]
    scale = width**-0.5 if scale is None else scale
    query_THD = query_1HTD[0].transpose(0, 1) * scale
    key_TKD, value_TKD = key_1KTD[0].transpose(0, 1), value_1KTD[0].transpose(0, 1)
    groups = key_TKD.shape[1]
    out_THD = query_THD.new_empty(tokens, heads, width)
    for b in batches:
        rows, seen = b.hidden.shape
        number = len(b.queries) // rows
        q = query_THD[b.queries].view(number, rows, groups, -1, width)
        q = q.permute(0, 2, 3, 1, 4).reshape(number * groups, -1, width)
        k, v = (
            x[b.keys].view(number, seen, groups, width).transpose(1, 2).reshape(-1, seen, width)
            for x in (key_TKD, value_TKD)
        )
        scores = torch.bmm(q, k.transpose(1, 2))
        if softcap is not None:
            scores = scores.div_(softcap).tanh_().mul_(softcap)
        hidden = scores.view(-1, rows, seen).add_(b.hidden)
        # In float32 the kernel takes half as long as in bfloat16, conversion included.
        shares = hidden.softmax(-1, dtype=torch.float32).to(scores.dtype).view_as(scores)
        part = torch.bmm(shares, v).view(number, groups, -1, rows, width)
        part = part.permute(0, 3, 1, 2, 4).reshape(-1, heads, width)
        out_THD[b.queries[b.real]] = part[b.real]
    return out_THD.transpose(0, 1)[None]
