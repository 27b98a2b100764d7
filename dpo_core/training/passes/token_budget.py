"""Token budget: tokens per forward pass, such that training fits the device's memory.

On a GPU it depends on the model's shape and the device's total memory, not on what is free at the
moment: equal machines then cut rounds into equal micro-batches, and equal runs repeat.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dpo_core.config import TrainingConfig
from dpo_core.training.passes.model_size import CPU_TOKENS, STATE_BYTES, ModelSize
from dpo_core.training.runtime import Runtime

_FEWEST, _MOST = 1024, 2**17
_USABLE = 0.8
"""Share of the device's memory to plan with; the rest is for kernels and fragmentation."""


def model_size(policy_dir: Path) -> ModelSize:
    """The size of a model from its config; loads no weights."""
    config = AutoConfig.from_pretrained(policy_dir)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape: Any = config.get_text_config()
    inner = getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    parameters = sum(p.numel() for p in model.parameters())
    return ModelSize(parameters, shape.num_hidden_layers, shape.hidden_size, inner)


def token_budget(
    config: TrainingConfig, runtime: Runtime, policy_dir: Path, processes: int = 1
) -> int:
    """Tokens per forward pass: from the config, or as many as fit.

    processes: number of processes that weights and optimiser state are sharded among.
    """
    if config.micro_batch_tokens != "auto":
        return config.micro_batch_tokens
    if runtime.device.type == "cpu":
        return CPU_TOKENS
    memory = torch.cuda.get_device_properties(runtime.device).total_memory
    size = model_size(policy_dir)
    return fitting_tokens(size, config, memory, runtime.compute_dtype.itemsize, processes)


def fitting_tokens(
    size: ModelSize, config: TrainingConfig, memory: int, value_bytes: int, processes: int = 1
) -> int:
    """The largest power of two of tokens whose activations fit into memory beside the weights.

    memory: bytes. value_bytes: bytes of one activation. At least 1,024 tokens: for a model that is
    too large, the allocator raises the error.
    """
    # With adapters, frozen weights are kept in the compute dtype and have no optimiser state.
    weight_bytes = STATE_BYTES if config.lora is None else value_bytes
    free = _USABLE * memory - weight_bytes * size.parameters / processes
    bytes_per_token = size.kept_bytes(value_bytes, checkpointing=config.gradient_checkpointing)
    tokens = max(_FEWEST, min(_MOST, int(free / bytes_per_token)))
    return int(2 ** (tokens.bit_length() - 1))
