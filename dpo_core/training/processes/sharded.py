"""A model whose weights, gradients and optimiser state are divided among the processes of a team.

T tokens of the packed row, H hidden width. FSDP2 gathers a layer's weights when it runs and sums
its gradients over the processes afterwards; the root holds what stands outside the layers:
embedding, last norm and head, tied or not.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from dpo_core.training.passes.fused_head import ChunkSlopes, Head, head_backward
from dpo_core.training.passes.packing import PackedRow
from dpo_core.training.passes.pass_over_pairs import Enter
from dpo_core.training.processes.team import Team

T = TypeVar("T")


class _Root(nn.Module):
    """Runs a function with the weights of `model` at hand that no layer holds."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[], T]) -> T:
        return run()


def shard(model: Any, team: Team, device: torch.device) -> Enter:
    """Divide `model`, in place, layer by layer as it moves to `device`; called together.

    What comes back runs a function with the weights at hand.
    """
    mesh = init_device_mesh(device.type, (team.size,))
    root = _Root(model)
    for module in (*_layers(model), root):
        fully_shard(module, mesh=mesh)
        assert isinstance(module, FSDPModule)
        # Slopes are those of the whole step's mean: gradients of the processes add up.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)

    def enter(run: Callable[[], T]) -> T:
        try:
            found: T = root(run)
        except Exception:
            # The weights gathered so far would stand in the place of those that are to be trained.
            root.reset_iter_state()  # type: ignore[operator]
            raise
        if not torch.is_grad_enabled():
            # No backward will come to put the root's gathered weights away, and meanwhile they
            # would stand in the place of those that the optimiser is to move.
            root.reshard()  # type: ignore[operator]
        return found

    return enter


def _layers(model: Any) -> list[nn.Module]:
    """What transformers says should stay in one piece; the outer one where they are nested."""
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    found: list[nn.Module] = []
    within: set[nn.Module] = set()
    for module in model.modules():  # those that hold others come first
        if type(module).__name__ in kinds and module not in within:
            found.append(module)
            within.update(module.modules())
    return found


class _HeadLoss(torch.autograd.Function):
    """0, with the gradients of the step's loss by hidden states and head, made in forward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        head: Head,
        packed: PackedRow,
        slopes: ChunkSlopes,
    ) -> Tensor:
        own = replace(head, weight=_leaf(weight_VH), bias=None if bias_V is None else _leaf(bias_V))
        gradient_TH = head_backward(hidden_TH.detach(), own, packed, slopes)
        bias_grad_V = None if own.bias is None else own.bias.grad
        ctx.save_for_backward(gradient_TH, own.weight.grad, bias_grad_V)
        return hidden_TH.new_zeros(())

    @staticmethod
    def backward(ctx: Any, one: Tensor) -> tuple[Tensor | None, ...]:
        return (*ctx.saved_tensors, None, None, None)


def head_loss(hidden_TH: Tensor, head: Head, packed: PackedRow, slopes: ChunkSlopes) -> Tensor:
    """() a value whose backward gives what `head_backward` does, for FSDP to see it pass."""
    loss: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_TH, head.weight, head.bias, head, packed, slopes
    )
    return loss


def _leaf(weight: Tensor) -> Tensor:
    return weight.detach().requires_grad_(weight.requires_grad)


def gather_tensor(value: Tensor) -> Tensor:
    """The whole of a tensor that may be divided; called together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gather_weights(model: Any) -> dict[str, Any]:
    """All weights of a divided model in this machine's memory, for the leader; called together."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights
