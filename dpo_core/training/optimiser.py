"""AdamW with float32 state, and the learning rate of each step."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Schedule = Literal["constant", "linear", "cosine"]


def make_optimiser(
    parameters: Iterable[Tensor], learning_rate: float, weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW (β 0.9, 0.999); weight decay applies to matrices, not to norms and biases."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in trained)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), fused=fused)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def learning_rate_factor(
    step: int, steps: int, *, warmup_steps: int, schedule: Schedule, floor: float = 0.0
) -> float:
    """Factor of the learning rate at `step`, counted from 0.

    It rises linearly over the warm-up, whose last step has the full rate. Then it stays (constant)
    or falls from 1 towards `floor`, which it would reach one step after the last.

    Example:
        >>> [learning_rate_factor(s, 4, warmup_steps=2, schedule="linear") for s in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    remaining = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return floor + (1 - floor) * remaining
