"""Micro-batches fit the device's memory, by the model's shape alone."""

from pathlib import Path

import pytest
import torch

from dpo_core.config import LoraConfig, TrainingConfig
from dpo_core.training.passes.model_size import CPU_TOKENS, ModelSize
from dpo_core.training.passes.token_budget import fitting_tokens, model_size, token_budget
from dpo_core.training.runtime import Runtime

GIB = 2**30
SEVEN_B = ModelSize(parameters=7_000_000_000, layers=32, hidden=4096, inner=11008)
HALF_B = ModelSize(parameters=500_000_000, layers=24, hidden=896, inner=4864)
FULL = TrainingConfig()
ADAPTERS = TrainingConfig(lora=LoraConfig())


def activations(size: ModelSize, tokens: int) -> float:
    """Bytes in bfloat16 of the activations that this module's docstrings count."""
    return 2.0 * tokens * size.layers * (16 * size.hidden + 4 * size.inner)


@pytest.mark.parametrize(
    ("size", "config", "state"),
    [(HALF_B, FULL, 16 * 0.5e9), (SEVEN_B, ADAPTERS, 2 * 7e9)],
)
def test_weights_state_and_activations_fill_the_memory_and_no_more(
    size: ModelSize, config: TrainingConfig, state: float
) -> None:
    tokens = fitting_tokens(size, config, 80 * GIB, value_bytes=2)
    assert state + activations(size, tokens) <= 0.8 * 80 * GIB
    assert state + activations(size, 2 * tokens) > 0.8 * 80 * GIB or tokens == 2**17


def test_less_memory_takes_fewer_tokens_and_layers_computed_again_take_more() -> None:
    whole = fitting_tokens(SEVEN_B, ADAPTERS, 80 * GIB, 2)
    assert fitting_tokens(SEVEN_B, ADAPTERS, 40 * GIB, 2) < whole
    again = TrainingConfig(lora=LoraConfig(), gradient_checkpointing=True)
    assert fitting_tokens(SEVEN_B, again, 80 * GIB, 2) > whole


def test_a_model_that_cannot_fit_gets_the_least_and_two_processes_fit_it() -> None:
    assert fitting_tokens(SEVEN_B, FULL, 80 * GIB, 2) == 1024
    assert fitting_tokens(SEVEN_B, FULL, 80 * GIB, 2, processes=4) > 1024


def test_the_size_is_read_without_weights(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny)
    size = model_size(tiny)
    assert size.parameters == sum(p.numel() for p in model.parameters())
    assert (size.layers, size.hidden) == (
        model.config.num_hidden_layers,
        model.config.hidden_size,
    )


def test_a_number_in_the_config_stands(tiny: Path) -> None:
    cpu = Runtime(torch.device("cpu"), torch.float32)
    assert token_budget(TrainingConfig(micro_batch_tokens=77), cpu, tiny) == 77
    assert token_budget(TrainingConfig(), cpu, tiny) == CPU_TOKENS
