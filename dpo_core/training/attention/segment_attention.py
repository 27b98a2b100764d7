"""Attention within packed groups, for every transformers model that selects attention by name.

Each completion sees its prompt and itself, never its rival or another group. H query heads, K key
heads, T tokens of the row, D their width.

A token sees what the model's own mask allows, layer by layer: transformers creates each mask with
`_window_of`, which determines its kind, and the layer passes the result on. Masks of another kind,
masks that a model makes itself, and unknown arguments of attention raise NotImplementedError; the
caller then takes the plain path.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from dpo_core.training.attention import dense_segments, flex_segments
from dpo_core.training.attention.batched_segments import Batch, batched_segments, batches
from dpo_core.training.attention.dense_segments import DenseSegments
from dpo_core.training.attention.flash_segments import FlashSegments
from dpo_core.training.attention.sliced_segments import sliced_segments
from dpo_core.training.passes.packing import Segment

NAME = "ratchet_pairs"

_IRRELEVANT = frozenset(
    {
        "dropout",  # off in policy and reference
        "is_causal",  # always true here, which is checked
        "sliding_window",  # for kernels without a mask; here the mask decides
        "position_ids",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "max_length_q",
        "max_length_k",
    }
)
"""Arguments of transformers' attention functions that do not change the result here."""

MaskFunction = Callable[[int, int, Tensor, Tensor], Tensor]
"""mask(batch, head, query, key) for places in the row (n,), as transformers composes it."""


@dataclass(frozen=True)
class Window:
    """Stands in place of a mask.

    tokens: most tokens of its sequence that a token sees, itself included; None: all before it.
    known: whether the mask is such a window; a model may create masks that no layer uses.
    """

    tokens: int | None
    known: bool

    def __getattr__(self, name: str) -> Any:
        """Refuse a model that computes with its mask."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError("its attention computes with its mask")


class _Row:
    """The current row, the masks made for it, and how often attention was called."""

    def __init__(
        self, segments: Sequence[Segment], device: torch.device, *, frozen: bool = False
    ) -> None:
        self.segments = segments
        self.device = device
        self.frozen = frozen
        self.attended = 0
        self._masks: dict[tuple[int, int, int | None], Tensor] = {}
        self._blocks: dict[int | None, Any] = {}
        self._batches: dict[int | None, list[Batch]] = {}

    def mask(self, queries: int, keys: int, window: int | None) -> Tensor:
        """(queries, keys), true where a query, one of the last positions, sees a key."""
        mask = self._masks.get((queries, keys, window))
        if mask is None:
            key_K = torch.arange(keys, device=self.device)
            query_Q1 = torch.arange(keys - queries, keys, device=self.device)[:, None]
            mask = key_K <= query_Q1
            if window is not None:
                mask &= query_Q1 - key_K < window
            self._masks[queries, keys, window] = mask
        return mask

    def narrow(self, window: int | None) -> bool:
        """Whether the window hides earlier tokens of a sequence from any token of the row."""
        longest = max(s.longest for s in self.segments)
        return window is not None and window < longest

    def batches(self, window: int | None, dtype: torch.dtype) -> list[Batch]:
        """The row's sequences side by side."""
        if window not in self._batches:
            self._batches[window] = batches(self.segments, window, dtype)
        return self._batches[window]

    def blocks(self, window: int | None) -> Any:
        """The block mask for flex attention."""
        if window not in self._blocks:
            self._blocks[window] = flex_segments.blocks(self.segments, window, self.device)
        return self._blocks[window]


class _Current(threading.local):
    """The row of the pass that this thread makes."""

    row: _Row | None = None


_current = _Current()
_trained: _Row | None = None
"""The row of a pass with gradients, of which there is one at a time: on a GPU, threads of autograd
compute checkpointed layers again."""


@contextmanager
def attending(
    segments: Sequence[Segment], device: torch.device, *, frozen: bool = False
) -> Iterator[None]:
    """Within, forward and backward passes attend within these groups. frozen: no backward.

    Raises NotImplementedError when no layer of the model called this attention.
    """
    global _trained
    row = _Row(segments, device, frozen=frozen)
    before, _current.row = _current.row, row
    before_trained = _trained
    if not frozen:  # frozen passes may be made side by side
        _trained = row
    try:
        yield
        if not row.attended:
            raise NotImplementedError("its attention cannot be selected by name")
    finally:
        _current.row = before
        if not frozen:
            _trained = before_trained


def segment_attention(
    module: Any,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """(1, T, H, D), as transformers' attention functions return it. Dropout is off in DPO.

    Raises NotImplementedError for a layer with arguments or a mask that are not supported.
    """
    row = _current.row or _trained
    assert row is not None, "segment attention needs `attending` around it"
    row.attended += 1
    _refuse_unknown(others)
    window = _layer_window(attention_mask)
    original = query_1HTD, key_1KTD, value_1KTD
    inputs = _in_one_dtype(*original)
    if flex_segments.available(row.device):
        blocks = row.blocks(window)
        out = flex_segments.flex_segments(*inputs, blocks, scale=scaling, softcap=softcap)
    elif row.device.type == "cpu" and row.frozen and inputs[0].dtype == torch.bfloat16:
        blocks = row.batches(window, torch.bfloat16)
        out = batched_segments(*inputs, blocks, scale=scaling, softcap=softcap)
    elif row.device.type == "cpu" and softcap is None and not row.narrow(window):
        out = _on_cpu(*original, row.segments, scaling)
    else:
        out = sliced_segments(
            *inputs,
            row.segments,
            row.mask,
            scale=scaling,
            window=window,
            softcap=softcap,
        )
    return out.transpose(1, 2).contiguous(), None


def _in_one_dtype(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Convert as autocast does for torch's own attention; float32 rotation left float32 queries."""
    device = query.device.type
    if not torch.is_autocast_enabled(device):
        return query, key, value
    dtype = torch.get_autocast_dtype(device)
    return query.to(dtype), key.to(dtype), value.to(dtype)


def _on_cpu(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], scale: float | None
) -> Tensor:
    """Attention by the fastest kernel for tokens that see everything before them."""
    if torch.is_autocast_enabled("cpu") and dense_segments.short(segments):
        value = value.to(torch.get_autocast_dtype("cpu"))
        arguments = query, key, value, segments, scale
        return DenseSegments.apply(*arguments)  # type: ignore[no-untyped-call, no-any-return]
    inputs = _in_one_dtype(query, key, value)
    return FlashSegments.apply(*inputs, segments, scale)  # type: ignore[no-untyped-call, no-any-return]


def _refuse_unknown(arguments: Mapping[str, object]) -> None:
    unknown = sorted(k for k, v in arguments.items() if v is not None and k not in _IRRELEVANT)
    if unknown:
        raise NotImplementedError(f"its attention takes {', '.join(unknown)}")
    if arguments.get("is_causal") is False:
        raise NotImplementedError("its attention is not causal")


def _layer_window(mask: Any) -> int | None:
    """The window of a layer, from the mask that it was given."""
    if not isinstance(mask, Window):
        raise NotImplementedError("its attention does not use a mask that transformers makes")
    if not mask.known:
        raise NotImplementedError("its attention mask is neither causal nor a sliding window")
    return mask.tokens


def _window_of(*, mask_function: MaskFunction, local_size: int | None = None, **_: Any) -> Window:
    """The kind of mask that transformers would create: causal, or a window of `local_size` tokens.

    The mask is evaluated at the edges of what tokens of the row's first sequence would see. If the
    longest sequence passes, the result holds for all.
    """
    row = _current.row or _trained
    assert row is not None, "masks need `attending` around them"
    query_Q = torch.arange(row.segments[0].fork, device=row.device)
    first_Q = torch.zeros_like(query_Q) if local_size is None else query_Q - local_size + 1
    inner_Q = first_Q.clamp(min=0)
    known = all(
        bool(_evaluate_mask(mask_function, query_Q, key_Q).all())
        for key_Q in (inner_Q, (inner_Q + query_Q) // 2, query_Q)
    )
    for key_Q in (first_Q - 1, query_Q + 1):
        there_Q = (key_Q >= 0) & (key_Q < query_Q.numel())
        beyond = _evaluate_mask(mask_function, query_Q[there_Q], key_Q[there_Q])
        known = known and not bool(beyond.any())
    return Window(local_size, known)


def _evaluate_mask(mask_function: MaskFunction, query_Q: Tensor, key_Q: Tensor) -> Tensor:
    return mask_function(0, 0, query_Q, key_Q).expand(query_Q.shape)


AttentionInterface.register(NAME, segment_attention)
AttentionMaskInterface.register(NAME, _window_of)
