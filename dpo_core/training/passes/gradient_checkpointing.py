"""Gradient checkpointing: layers keep only their inputs and are recomputed in backward."""

from functools import partial
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from dpo_core.errors import BadInput


def checkpoint_layers(model: Any) -> None:
    """Let every layer of `model` recompute its activations in backward, bit for bit.

    transformers' own switch works only in training mode, where dropout is on; here the mode stays.
    Frozen inputs are fine: `checkpoint` without re-entry follows the weights within. Raises
    BadInput for a model without such layers.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise BadInput(
            f"{type(model).__name__} has no layers that transformers can recompute in backward",
            "Set training.gradient_checkpointing: false and lower training.micro_batch_tokens.",
        )
    for layer in layers:
        # Without dropout nothing is random, so no random state needs keeping.
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )
