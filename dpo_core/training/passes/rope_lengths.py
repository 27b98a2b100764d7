"""Rotary embeddings whose frequencies depend on how long the longest sequence of a batch is.

So do `longrope` (Ding et al. 2024, arXiv:2402.13753) and `dynamic` ones in transformers, and the
latter remember the longest batch they ever saw. Here each sequence gets what the model computes for
it alone, whatever stands beside it or came before. B sequences, T positions, D width of a head.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor


class RopeLengths:
    """The rotary embeddings of `model` of this kind; most models have none."""

    def __init__(self, model: Any) -> None:
        found = {module: _limit(module) for module in model.modules()}
        self._limits = {module: limit for module, limit in found.items() if limit is not None}

    @property
    def limit(self) -> int | None:
        """Tokens up to which sequences do not differ in it; None: any number."""
        return min(self._limits.values(), default=None)

    def differ(self, lengths: Sequence[int]) -> bool:
        """Whether sequences of these lengths need frequencies of their own."""
        return self.limit is not None and max(lengths) > self.limit

    @contextmanager
    def of(self, lengths: Sequence[int]) -> Iterator[None]:
        """Within, the model's sequences are those of a right-padded batch with these lengths."""
        if not self.differ(lengths):
            yield
            return
        for module in self._limits:
            module.forward = partial(_each_alone, module, lengths)
        try:
            yield
        finally:
            for module in self._limits:
                del module.forward


def _limit(module: Any) -> int | None:
    kinds = getattr(module, "rope_type", None)
    if isinstance(kinds, str):
        kinds = {None: kinds}
    if not isinstance(kinds, Mapping):
        return None
    limits = [_limit_of(module, layer, kind) for layer, kind in kinds.items()]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit_of(module: Any, layer: str | None, kind: str) -> int | None:
    if kind == "longrope":
        options = module.config.rope_parameters
        return int(
            (options if layer is None else options[layer])["original_max_position_embeddings"]
        )
    return int(module.original_max_seq_len) if "dynamic" in kind else None


def _each_alone(
    module: Any, lengths: Sequence[int], x: Tensor, position_ids: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """cos and sin (B, T, D) in place of (1 or B, T, D): zeros at padding, which nobody sees."""
    positions_BT = position_ids.expand(len(lengths), -1)
    both: tuple[Tensor, ...] = ()
    for length in sorted(set(lengths)):
        rows = torch.tensor([at for at, n in enumerate(lengths) if n == length], device=x.device)
        fresh = copy.copy(module)
        fresh._buffers = dict(module._buffers)  # it remembers what it sees
        del fresh.forward
        found = fresh.forward(x, positions_BT[rows, :length], **options)
        if not both:
            both = tuple(v.new_zeros(*positions_BT.shape, v.shape[-1]) for v in found)
        for whole, part in zip(both, found, strict=True):
            whole[rows, :length] = part
    cos_BTD, sin_BTD = both
    return cos_BTD, sin_BTD
