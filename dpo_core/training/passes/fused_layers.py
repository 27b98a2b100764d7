"""Which layers of a transformers model the fused functions replace, and for how long.

A layer is replaced only where it computes what the function does, tried on random numbers: models
differ under equal names.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpo_core.training.passes.fused_functions import GatedMlp, Lookup, RmsNorm, Rotation

_AGREEMENT = 1e-5
"""Largest difference relative to the largest value, float32: the order of sums is another."""

_ROTATION = "apply_rotary_pos_emb"


class FusedLayers:
    """The layers of a model that can be replaced, and what replaces them."""

    def __init__(self, model: Any) -> None:
        homes = {sys.modules[type(module).__module__] for module in model.modules()}
        rotations = [(home, vars(home).get(_ROTATION)) for home in homes]
        self._norms = [module for module in model.modules() if _is_rms_norm(module)]
        self._mlps = [module for module in model.modules() if _is_gated_mlp(module)]
        self._rotations = [(home, usual) for home, usual in rotations if _is_by_halves(usual)]
        self._embedding = _plain_embedding(model)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        with ExitStack() as stack:
            for norm in self._norms:
                stack.enter_context(_replaced(norm, "forward", _norm(norm)))
            for mlp in self._mlps:
                stack.enter_context(_replaced(mlp, "forward", _gated_mlp(mlp)))
            for home, usual in self._rotations:
                stack.enter_context(_replaced(home, _ROTATION, _rotation(usual)))
            if self._embedding is not None:
                stack.enter_context(_replaced(self._embedding, "forward", _lookup(self._embedding)))
            yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value`, and afterwards what it was, if only by the owner's class."""
    before = {name: vars(owner)[name]} if name in vars(owner) else {}
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name)
        vars(owner).update(before)


def _norm(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    usual = norm.forward

    def forward(x: Tensor) -> Tensor:
        if x.dtype == norm.weight.dtype == torch.float32:
            return _rms_norm(x, norm, _of_products(x) or x.dtype)
        found: Tensor = usual(x)
        return found

    return forward


def _of_products(x: Tensor) -> torch.dtype | None:
    """In which dtype layers multiply `x`: float32, or by autocast on a CPU; None: as they usually
    do. On GPUs autocast is left alone."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device) if device == "cpu" else None
    return torch.float32 if x.dtype == torch.float32 else None


def _rms_norm(x: Tensor, norm: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    eps = getattr(norm, "variance_epsilon", None) or norm.eps
    out: Tensor = RmsNorm.apply(x, norm.weight, eps, dtype)  # type: ignore[no-untyped-call]
    return out


def _is_rms_norm(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    if "RMSNorm" not in type(module).__name__ or weight is None or weight.ndim != 1:
        return False
    random = torch.Generator(weight.device).manual_seed(0)
    trial = copy.deepcopy(module).float()
    trial.weight.data.normal_(generator=random)
    x = torch.randn(8, len(weight), generator=random, device=weight.device)
    return _same(lambda: (_rms_norm(x, trial),), lambda: (trial(x),))


def _gated_mlp(mlp: Any) -> Callable[[Tensor], Tensor]:
    usual = mlp.forward
    weights = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight

    def forward(x: Tensor) -> Tensor:
        out: Tensor
        dtype = _of_products(x)
        if dtype is None:
            out = usual(x)
        elif torch.is_grad_enabled():
            out = GatedMlp.apply(x.to(dtype), *weights)  # type: ignore[no-untyped-call]
        else:
            inner = functional.silu(mlp.gate_proj(x), inplace=True).mul_(mlp.up_proj(x))
            out = mlp.down_proj(inner)
        return out

    return forward


def _is_gated_mlp(module: Any) -> bool:
    linear = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(_is_trained_linear(part) for part in linear):
        return False
    weight = module.gate_proj.weight
    random = torch.Generator(weight.device).manual_seed(0)
    x = torch.randn(2, weight.shape[1], generator=random, device=weight.device)
    return _same(lambda: (_gated_mlp(module)(x),), lambda: (module(x),))


def _is_trained_linear(module: Any) -> bool:
    """A product and nothing else, float32, whose weight has a gradient."""
    if type(module) is not nn.Linear or getattr(module, "bias", None) is not None:
        return False
    return module.weight.requires_grad and module.weight.dtype == torch.float32


def _rotation(usual: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    def rotate(
        query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
    ) -> tuple[Tensor, Tensor]:
        if _of_products(cos) is not None:
            query, key = query.to(cos.dtype), key.to(cos.dtype)  # as cos and sin would make them
        if any(x.dtype != torch.float32 or x.shape[-1] != cos.shape[-1] for x in (query, key, cos)):
            found: tuple[Tensor, Tensor] = usual(query, key, cos, sin, unsqueeze_dim=unsqueeze_dim)
            return found
        around = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        rotated = [Rotation.apply(x, *around) for x in (query, key)]  # type: ignore[no-untyped-call]
        return rotated[0], rotated[1]

    return rotate


def _is_by_halves(usual: Any) -> bool:
    if usual is None:
        return False
    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, heads, 5, 8, generator=random) for heads in (4, 2))
    angles = torch.randn(1, 5, 4, generator=random).repeat(1, 1, 2)
    inputs = query, key, angles.cos(), angles.sin()
    return _same(lambda: _rotation(usual)(*inputs), lambda: usual(*inputs))


def _lookup(embedding: nn.Embedding) -> Callable[[Tensor], Tensor]:
    def forward(ids: Tensor) -> Tensor:
        rows: Tensor = Lookup.apply(  # type: ignore[no-untyped-call]
            embedding.weight, ids, embedding.padding_idx
        )
        return rows

    return forward


def _plain_embedding(model: Any) -> nn.Embedding | None:
    """The embedding, where it is nothing else and its gradient may be added row by row.

    On a GPU rows that are added in any order would make equal runs differ in their last bits.
    """
    embedding = model.get_input_embeddings()
    usual = type(embedding) is nn.Embedding and embedding.max_norm is None
    if not usual or embedding.scale_grad_by_freq or embedding.sparse:
        return None
    return embedding if embedding.weight.device.type == "cpu" else None


@torch.no_grad()
def _same(ours: Callable[[], tuple[Tensor, ...]], usual: Callable[[], tuple[Tensor, ...]]) -> bool:
    try:
        return all(map(_agree, ours(), usual()))
    except Exception:  # other inputs or names: whatever the layer does, it is not this
        return False


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(
        (one - other).abs().max() <= _AGREEMENT * other.abs().max()
    )
