"""How many tokens go through a model at a time, so that its memory fits the device's.

On a GPU it follows from the model's shape and from all the memory the device has, not from what
happens to be free: so equal machines cut rounds into equal micro-batches, and equal runs repeat.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.config import TrainingConfig
from dpo_core.training.runtime import Runtime

CPU_TOKENS = 1024
"""Larger products are no faster on a CPU, and buffers leave its cache."""

_FEWEST, _MOST = 1024, 2**17
_USABLE = 0.8
"""Share of the device's memory that is planned with: the rest is for kernels and fragmentation."""

_STATE_BYTES = 16
"""Of each trained weight: itself, its gradient and AdamW's two moments, float32."""

_WIDE, _INNER = 16, 4
"""Values of the hidden and of the inner width that a layer keeps of each token for its backward:
both norms, their inputs and outputs, query, key, value, attention's output, rotated and not; gate,
up, their product and its factor. Counted by hand on Llama's layer; no allocator was asked."""


@dataclass(frozen=True)
class ModelSize:
    """What a model's memory depends on."""

    parameters: int
    layers: int
    hidden: int
    inner: int

    @classmethod
    def of(cls, policy_dir: Path) -> "ModelSize":
        """Read from the config alone: no weight is loaded."""
        config = AutoConfig.from_pretrained(policy_dir)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        shape: Any = config.get_text_config()
        inner = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
        parameters = sum(p.numel() for p in model.parameters())
        return cls(parameters, shape.num_hidden_layers, shape.hidden_size, inner)


def token_budget(
    config: TrainingConfig, runtime: Runtime, policy_dir: Path, processes: int = 1
) -> int:
    """Tokens of one forward pass: what the config says, or what fits.

    processes: among which weights and optimiser state are divided.
    """
    if config.micro_batch_tokens != "auto":
        return config.micro_batch_tokens
    if runtime.device.type == "cpu":
        return CPU_TOKENS
    memory = torch.cuda.get_device_properties(runtime.device).total_memory
    size = ModelSize.of(policy_dir)
    return fitting_tokens(size, config, memory, runtime.compute_dtype.itemsize, processes)


def fitting_tokens(
    size: ModelSize, config: TrainingConfig, memory: int, value_bytes: int, processes: int = 1
) -> int:
    """The power of two of tokens whose activations fit into `memory` bytes beside the weights.

    value_bytes: of one activation. At least 1,024: a model that is too large says so by itself.
    """
    # With adapters, frozen weights are kept in the compute dtype and have no optimiser state.
    weight_bytes = _STATE_BYTES if config.lora is None else value_bytes
    left = _USABLE * memory - weight_bytes * size.parameters / processes
    layer = value_bytes * (_WIDE * size.hidden + _INNER * size.inner)
    if config.gradient_checkpointing:
        kept = value_bytes * size.layers * size.hidden + layer
    else:
        kept = size.layers * layer
    tokens = max(_FEWEST, min(_MOST, int(left / kept)))
    return int(2 ** (tokens.bit_length() - 1))
