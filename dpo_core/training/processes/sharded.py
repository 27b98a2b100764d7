"""Sharded models: weights, gradients and optimiser state divided among the processes of a team.

T tokens of the packed row, H hidden width. FSDP2 gathers a layer's weights when it runs and sums
its gradients over the processes afterwards. The root holds everything outside the layers:
embedding, last norm and head, tied or not.
"""

from collections.abc import Callable, Mapping
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
    """Runs a function while the weights of `model` outside its layers are gathered."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[], T]) -> T:
        return run()


def shard(model: Any, team: Team, device: torch.device) -> Enter:
    """Shard `model` in place, layer by layer as it moves to `device`. A collective call.

    Returns a callable that runs a function while the weights are gathered.
    """
    mesh = init_device_mesh(device.type, (team.size,))
    root = _Root(model)
    for module in (*_layers(model), root):
        fully_shard(module, mesh=mesh)
        assert isinstance(module, FSDPModule)
        # Slopes belong to the mean over the whole step, so gradients of the processes add up.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)

    def enter(run: Callable[[], T]) -> T:
        try:
            result: T = root(run)
        except Exception:
            # Otherwise gathered weights would stay in place of the sharded ones to be trained.
            root.reset_iter_state()  # type: ignore[operator]
            raise
        if not torch.is_grad_enabled():
            # Without a backward nothing else releases the root's gathered weights, which would
            # stay in place of the sharded ones that the optimiser updates.
            root.reshard()  # type: ignore[operator]
        return result

    return enter


def _layers(model: Any) -> list[nn.Module]:
    """The modules that transformers keeps in one piece; the outer one where they are nested."""
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    layers: list[nn.Module] = []
    within: set[nn.Module] = set()
    for module in model.modules():  # outer modules come first
        if type(module).__name__ in kinds and module not in within:
            layers.append(module)
            within.update(module.modules())
    return layers


class _HeadLoss(torch.autograd.Function):
    """The value 0, with the gradients of hidden states and head, computed in forward."""

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
    """() a loss whose backward gives the gradients of `head_backward`, so that FSDP sees them."""
    loss: Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_TH, head.weight, head.bias, head, packed, slopes
    )
    return loss


def _leaf(weight: Tensor) -> Tensor:
    return weight.detach().requires_grad_(weight.requires_grad)


def gather_tensor(value: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded. A collective call."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gather_weights(model: Any) -> Mapping[str, object]:
    """All weights of a sharded model in CPU memory, for the leader. A collective call."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=options)
