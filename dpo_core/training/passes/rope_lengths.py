"""Rotary embeddings whose frequencies depend on the longest sequence of a batch.

In transformers these are `longrope` (Ding et al. 2024, arXiv:2402.13753) and `dynamic`, which even
remembers the longest batch it ever saw. Here each sequence gets the frequencies that the model
computes for it alone, whatever else is in the batch or came before. B sequences, T positions, D
width of a head.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor


class RopeLengths:
    """A model's rotary embeddings of this kind; most models have none."""

    def __init__(self, model: Any) -> None:
        limits = {module: _limit(module) for module in model.modules()}
        self._limits = {module: limit for module, limit in limits.items() if limit is not None}

    @property
    def limit(self) -> int | None:
        """Tokens up to which frequencies do not depend on length; None: any number."""
        return min(self._limits.values(), default=None)

    def differ(self, lengths: Sequence[int]) -> bool:
        """Whether sequences of these lengths need frequencies of their own."""
        return self.limit is not None and max(lengths) > self.limit

    @contextmanager
    def for_lengths(self, lengths: Sequence[int]) -> Iterator[None]:
        """Within, the model runs a right-padded batch of sequences with these lengths."""
        if not self.differ(lengths):
            yield
            return
        for module in self._limits:
            module.forward = partial(_rotate_each_alone, module, lengths)
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


def _rotate_each_alone(
    module: Any, lengths: Sequence[int], x: Tensor, position_ids: Tensor, **options: Any
) -> tuple[Tensor, Tensor]:
    """cos and sin (B, T, D) in place of (1 or B, T, D); zeros at padding."""
    positions_BT = position_ids.expand(len(lengths), -1)
    both: tuple[Tensor, ...] = ()
    for length in sorted(set(lengths)):
        rows = torch.tensor([at for at, n in enumerate(lengths) if n == length], device=x.device)
        fresh = copy.copy(module)
        fresh._buffers = dict(module._buffers)  # it remembers lengths in its buffers
        del fresh.forward
        cos_sin = fresh.forward(x, positions_BT[rows, :length], **options)
        if not both:
            both = tuple(v.new_zeros(*positions_BT.shape, v.shape[-1]) for v in cos_sin)
        for whole, part in zip(both, cos_sin, strict=True):
            whole[rows, :length] = part
    cos_BTD, sin_BTD = both
    return cos_BTD, sin_BTD
