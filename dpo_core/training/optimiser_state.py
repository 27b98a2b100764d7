"""AdamW's state on disk, for rounds whose optimiser continues from an earlier round.

One safetensors file; its names are `<parameter>.<exp_avg | exp_avg_sq | step>`.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from dpo_core.errors import BadInput

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def save_optimiser_state(
    model: Any, optimiser: Optimizer, path: Path, *, writes: bool = True
) -> None:
    """Save the state. A collective call for sharded models; the process with `writes` writes."""
    whole = _by_parameter(get_optimizer_state_dict(model, optimiser, options=_WHOLE))
    if not writes:
        return
    state = _untouched(model) | {name: own for name, own in whole.items() if own}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{name}.{key}": t for name, own in state.items() for key, t in own.items()}, path)


def load_optimiser_state(model: Any, optimiser: Optimizer, path: Path) -> None:
    """Load moments and step counts from `path` into an optimiser that has made no step yet.

    Learning rate and weight decay stay as they are. Raises BadInput for another model's state.
    """
    fresh = get_optimizer_state_dict(model, optimiser)
    saved = load_file(path)
    state: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in saved.items():
        parameter, _, key = name.rpartition(".")
        state[parameter][key] = tensor
    if _shapes(state) != _shapes(_by_parameter(fresh)):
        raise BadInput(
            f"the optimiser state in {path} does not match this policy's parameters",
            "Set training.optimiser_state: fresh.",
        )
    fresh["state"] = cast(Any, dict(state))
    set_optimizer_state_dict(model, optimiser, fresh, options=_WHOLE)


def _untouched(model: Any) -> dict[str, dict[str, Tensor]]:
    """The initial state of every trained weight, for those that never have a gradient."""
    return {
        name: {
            "exp_avg": torch.zeros(weight.shape),
            "exp_avg_sq": torch.zeros(weight.shape),
            "step": torch.tensor(0.0),
        }
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def _by_parameter(whole: Mapping[str, object]) -> dict[str, dict[str, Tensor]]:
    """parameter → name → tensor; empty in a process that does not write."""
    return cast(dict[str, dict[str, Tensor]], whole.get("state", {}))


def _shapes(state: Mapping[str, Mapping[str, Tensor]]) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(name, key): tuple(t.shape) for name, own in state.items() for key, t in own.items()}
