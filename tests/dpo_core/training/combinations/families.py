"""Tiny random models whose attention or positions change beyond a few tokens, and long pairs."""

import random
from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM

from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.runtime import Runtime, attention_for

CPU = Runtime(torch.device("cpu"), torch.float32)
VOCABULARY = 61
LIMIT = 16
"""Tokens beyond which every family below is another function than a model without windows; windows
are shorter, and the shortest pairs stay below it."""

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,  # or a wrong mask goes unseen
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": LIMIT,
    "short_factor": [1.0] * 4,
    "long_factor": [2.0, 3.0, 4.0, 5.0],
}
FAMILIES: dict[str, tuple[str, dict[str, Any], str]] = {
    # A window that layers are told of, in all of them, in some, or beside one that masks forget.
    "mistral": ("MistralConfig", {"sliding_window": 7}, "fast"),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 7}, "fast"),
    "olmoe": ("OlmoeConfig", {"sliding_window": 7, "num_experts": 3, **_EXPERTS}, "fast"),
    # A window that lives in the mask alone.
    "phimoe": ("PhimoeConfig", {"sliding_window": 7, "num_local_experts": 3, **_EXPERTS}, "fast"),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            "use_sliding_window": True,
            "sliding_window": 7,
            "max_window_layers": 1,
            "num_experts": 3,
            "shared_expert_intermediate_size": 16,
            **_EXPERTS,
        },
        "fast",
    ),
    # Masks that are no window, and positions that depend on how long a sequence is.
    "doge": (
        "DogeConfig",
        {"sliding_window": 7, "keep_window_size": 8, "num_key_value_heads": 2},
        "plain",
    ),
    "phi3, longrope": (
        "Phi3Config",
        {"rope_parameters": _LONGROPE, "original_max_position_embeddings": LIMIT},
        "plain",
    ),
    "llama, dynamic": (
        "LlamaConfig",
        {
            "max_position_embeddings": LIMIT,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        },
        "plain",
    ),
}
"""Name → (config class, its options, the path that the trainer must take)."""


def build(family: str, seed: int = 0) -> Any:
    name, own, _ = FAMILIES[family]
    torch.manual_seed(seed)
    config = getattr(transformers, name)(**SMALL | own)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_for(config))
    return model.float().eval()


def pairs_of(lengths: list[tuple[int, int, int]], label: Callable[[int], float]) -> Any:
    """Random pairs with so many tokens of prompt, chosen and rejected; label: number → p_chosen."""
    chosen = random.Random(0)

    def ids(count: int) -> list[int]:
        return [chosen.randrange(3, VOCABULARY) for _ in range(count)]

    return [
        TrainingPair(f"pair-{n}", *(ids(count) for count in counts), p_chosen=label(n))
        for n, counts in enumerate(lengths)
    ]


LENGTHS = [(3, 2, 5), (9, 22, 6), (4, 3, 1), (12, 8, 19), (2, 6, 7)]
"""Two pairs lie across LIMIT, and the windows; each side is the longer one somewhere."""
