"""The sizes that a model's memory depends on, and the activations kept per token. Loads no torch.

Activations are counted by hand on Llama's layer, not measured.
"""

from dataclasses import dataclass

STATE_BYTES = 16
"""Bytes per trained weight: itself, its gradient and AdamW's two moments, float32."""

CPU_TOKENS = 1024
"""Tokens per forward pass on a CPU: larger products are no faster, and buffers leave its cache."""

HEAD_ROWS = 512
"""Tokens whose logits the fast path holds at a time."""

_WIDE, _INNER = 16, 4
"""Values of the hidden and of the inner width that a layer keeps per token for backward: both
norms, their inputs and outputs, query, key, value, attention's output, rotated and not; gate, up,
their product and its factor."""


@dataclass(frozen=True)
class ModelSize:
    """parameters: all weights. hidden: width between layers. inner: width within their MLP."""

    parameters: int
    layers: int
    hidden: int
    inner: int

    def kept_bytes(self, value_bytes: int, *, checkpointing: bool) -> int:
        """Bytes of activations kept for backward, per token. value_bytes: bytes of one value."""
        layer = value_bytes * (_WIDE * self.hidden + _INNER * self.inner)
        if checkpointing:
            return value_bytes * self.layers * self.hidden + layer
        return self.layers * layer
