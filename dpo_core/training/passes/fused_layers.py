"""Replaces layers of a transformers model by the fused functions, for the time of a pass.

A layer is replaced only if it computes the same as the function on random numbers, because models
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
"""Largest float32 difference relative to the largest value: sums are in another order."""

_ROTATION = "apply_rotary_pos_emb"


class FusedLayers:
    """The layers of a model that can be replaced."""

    def __init__(self, model: Any) -> None:
        homes = {sys.modules[type(module).__module__] for module in model.modules()}
        rotations = [(home, vars(home).get(_ROTATION)) for home in homes]
        self._norms = [module for module in model.modules() if _is_rms_norm(module)]
        self._mlps = [module for module in model.modules() if _is_gated_mlp(module)]
        self._rotations = [(home, usual) for home, usual in rotations if _is_by_halves(usual)]
        self._embedding = _plain_embedding(model)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, the fused functions replace these layers."""
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
    """Within, `owner.name` is `value`; afterwards the owner's or its class's attribute again."""
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
            return _rms_norm(x, norm, _product_dtype(x) or x.dtype)
        out: Tensor = usual(x)
        return out

    return forward


def _product_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype in which layers multiply `x`: float32, or autocast's on a CPU.

    None leaves layers as they are, as with autocast on GPUs.
    """
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
        dtype = _product_dtype(x)
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
    """Whether it is a float32 linear layer without bias whose weight is trained."""
    if type(module) is not nn.Linear or getattr(module, "bias", None) is not None:
        return False
    return module.weight.requires_grad and module.weight.dtype == torch.float32


def _rotation(usual: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    def rotate(
        query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
    ) -> tuple[Tensor, Tensor]:
        if _product_dtype(cos) is not None:
            query, key = query.to(cos.dtype), key.to(cos.dtype)  # as cos and sin would make them
        if any(x.dtype != torch.float32 or x.shape[-1] != cos.shape[-1] for x in (query, key, cos)):
            out: tuple[Tensor, Tensor] = usual(query, key, cos, sin, unsqueeze_dim=unsqueeze_dim)
            return out
        cos_sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        rotated = [Rotation.apply(x, *cos_sin) for x in (query, key)]  # type: ignore[no-untyped-call]
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
    """The embedding, if it is a plain one whose gradient may be added row by row; else None.

    On a GPU rows are added in varying order, so equal runs would differ in their last bits.
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
    except Exception:  # other inputs or names: the layer does something else
        return False


def _agree(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(
        (one - other).abs().max() <= _AGREEMENT * other.abs().max()
    )
