"""What a model's memory depends on, and what training keeps of each token. Loads no torch.

Counted by hand on Llama's layer; no allocator was asked.
"""

from dataclasses import dataclass

STATE_BYTES = 16
"""Of each trained weight: itself, its gradient and AdamW's two moments, float32."""

CPU_TOKENS = 1024
"""Tokens of one forward pass: larger products are no faster on a CPU; buffers leave its cache."""

HEAD_ROWS = 512
"""Tokens whose logits the fast path holds at once."""

_WIDE, _INNER = 16, 4
"""Values of the hidden and of the inner width that a layer keeps of each token for its backward:
both norms, their inputs and outputs, query, key, value, attention's output, rotated and not; gate,
up, their product and its factor."""


@dataclass(frozen=True)
class ModelSize:
    """Weights in all, layers, and the widths between layers and within their MLP."""

    parameters: int
    layers: int
    hidden: int
    inner: int

    def kept_bytes(self, value_bytes: int, *, checkpointing: bool) -> int:
        """Bytes of activations that stay for the backward, per token; value_bytes: of one."""
        layer = value_bytes * (_WIDE * self.hidden + _INNER * self.inner)
        if checkpointing:
            return value_bytes * self.layers * self.hidden + layer
        return self.layers * layer
