"""Small layers as autograd functions, with fewer passes over memory than eager PyTorch.

D width of a norm, V rows of an embedding's table, I token ids, H and F hidden and inner width of an
MLP, N tokens.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_silu_backward = torch.ops.aten.silu_backward.grad_input


class RmsNorm(torch.autograd.Function):
    """apply(x (…, D), weight (D,), eps, dtype) -> x / √(mean x² + eps) · weight, in `dtype`.

    arXiv:1910.07467. Everything but the result has the dtype of `x`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        out: Tensor = (x * inverse).mul_(weight)
        return out.to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        by_out = gradients[0].to(x.dtype)
        product = (by_out * x).view(-1, x.shape[-1])
        by_weight = (inverse.view(1, -1) @ product)[0] if ctx.needs_input_grad[1] else None
        # d(inverse)/dx = −x·inverse³/D, and it meets Σ_d gradient·weight·x.
        along = (product @ weight).view_as(inverse).mul_(inverse**3).div_(-x.shape[-1])
        by_x = torch.mul(by_out, weight, out=product.view_as(x))
        return by_x.mul_(inverse).addcmul_(x, along), by_weight, None, None


class Rotation(torch.autograd.Function):
    """apply(x, cos, sin) -> x rotated by halves (arXiv:2104.09864); cos and sin broadcast to x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, *sin.chunk(2, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        first, second = sin.chunk(2, -1)
        return _rotated(gradients[0], cos, -second, -first), None, None


def _rotated(x: Tensor, cos: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """x·cos; minus `first` times the second half in the first half, plus `second` times the first
    half in the second half."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], first, value=-1)
    out[..., half:].addcmul_(x[..., :half], second)
    return out


class Lookup(torch.autograd.Function):
    """apply(table (V, D), ids, padding) -> table[ids]; its gradient goes straight to `table.grad`.

    padding: the id whose row gets no gradient, or None.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.table, ctx.padding = table, padding
        ctx.save_for_backward(ids)
        return functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ids_I = ctx.saved_tensors[0].reshape(-1)
        by_row_ID = gradients[0].reshape(len(ids_I), -1)
        if ctx.padding is not None:
            by_row_ID = by_row_ID.masked_fill((ids_I == ctx.padding)[:, None], 0)
        if ctx.table.grad is None:
            ctx.table.grad = torch.zeros_like(ctx.table)
        ctx.table.grad.index_add_(0, ids_I, by_row_ID.to(ctx.table.dtype))
        return None, None, None


class GatedMlp(torch.autograd.Function):
    """apply(x (…, H), gate (F, H), up (F, H), down (H, F)) -> (silu(x·gateᵀ) · x·upᵀ)·downᵀ.

    arXiv:2002.05202. Keeps two values of the inner width per token, where eager PyTorch keeps four,
    and no copies of the weights. Everything, including gradients of the weights, is computed in the
    dtype of `x`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        x_NH = x.reshape(-1, x.shape[-1])
        gate_NF, up_NF = x_NH @ gate.to(x.dtype).T, x_NH @ up.to(x.dtype).T
        ctx.save_for_backward(x_NH, gate_NF, up_NF, gate, up, down)
        out_NH: Tensor = functional.silu(gate_NF).mul_(up_NF) @ down.to(x.dtype).T
        return out_NH.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x_NH, gate_NF, up_NF, gate, up, down = ctx.saved_tensors
        by_out_NH = gradients[0].reshape(x_NH.shape)
        inner_NF = functional.silu(gate_NF)
        by_inner_NF = by_out_NH @ down.to(x_NH.dtype)
        by_up_NF = by_inner_NF * inner_NF
        by_down = by_out_NH.T @ inner_NF.mul_(up_NF)
        # From here on `inner` is reused for the gradient of the gate.
        by_inner_NF.mul_(up_NF)
        _silu_backward(by_inner_NF, gate_NF, grad_input=inner_NF)
        by_x_NH = (inner_NF @ gate.to(x_NH.dtype)).addmm_(by_up_NF, up.to(x_NH.dtype))
        return by_x_NH.view_as(gradients[0]), inner_NF.T @ x_NH, by_up_NF.T @ x_NH, by_down
