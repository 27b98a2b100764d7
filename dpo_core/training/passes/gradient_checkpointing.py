"""Layers that keep their inputs alone and are computed again in backward: memory for time."""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from dpo_core.errors import BadInput


def checkpoint_layers(model: Any) -> None:
    """Make every layer of `model` forget its activations; they come back in backward, bit for bit.

    transformers' own switch works in training mode only, where dropout is on; here no mode changes.
    Frozen inputs need no care: `checkpoint` without re-entry follows the weights within. Raises
    BadInput for a model without such layers.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise BadInput(
            f"{type(model).__name__} has no layers that transformers can compute again in backward",
            "Set training.gradient_checkpointing: false, and lower training.micro_batch_tokens.",
        )
    for layer in layers:
        # Nothing is random without dropout, so there is no random state to keep.
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
