"""Useful operations by hand, the device's peak, and what a step's row says of speed and padding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from benchmarks.dpo_round.workload import MODELS
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.metrics.pair_flops import PairFlops
from dpo_core.training.metrics.peak_flops import known_peak, measured_peak
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.trainer import train_round

from ..conftest import sentiment

PAIR = TrainingPair("pair", [1] * 5, [2] * 3, [3] * 4)


def model(name: str, **config: Any) -> Any:
    small = {
        "vocab_size": 50,
        "hidden_size": 8,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    return AutoModelForCausalLM.from_config(getattr(transformers, name)(**small | config))


def test_operations_of_a_llama_by_hand() -> None:
    # A layer: queries and output 8·8 each, keys and values 8·4 each, three times 8·12 in the MLP.
    layer = 2 * 64 + 2 * 32 + 3 * 96
    # Tokens that see each other: 8 positions of prompt and chosen, then 4 that continue the prompt.
    seen = 8 * 9 / 2 + 4 * 5 + 4 * 5 / 2
    forward = 2 * (2 * layer * 12 + 4 * 8 * seen) + 2 * 8 * 50 * 7
    found = PairFlops.from_model(model("LlamaConfig"))
    assert found.forward(PAIR) == forward
    assert found.step(PAIR) == 3 * forward
    tied = PairFlops.from_model(model("LlamaConfig", tie_word_embeddings=True))
    assert tied.forward(PAIR) == forward


def test_frozen_weights_need_no_gradient_of_their_own() -> None:
    frozen = model("LlamaConfig").requires_grad_(False)
    found = PairFlops.from_model(frozen)
    attention = 4 * 2 * 8 * (36 + 20 + 10)
    assert found.step(PAIR) == 2 * found.forward(PAIR) + attention


def test_a_window_and_experts_need_less() -> None:
    whole = PairFlops.from_model(model("Qwen2Config"))
    window = PairFlops.from_model(
        model("Qwen2Config", use_sliding_window=True, sliding_window=3, max_window_layers=1)
    )
    # Layer 2 sees at most three: 1+2+3·6 over 8 positions, and 3 at each of the rejected four.
    assert whole.forward(PAIR) - window.forward(PAIR) == 4 * 8 * (66 - (21 + 12))
    experts = {"num_local_experts": 4, "num_experts_per_tok": 1}
    one, all_four = (
        PairFlops.from_model(model("MixtralConfig", **experts | {"num_experts_per_tok": n}))
        for n in (1, 4)
    )
    assert all_four.body - one.body == 2 * 3 * (3 * 8 * 12)


def test_the_benchmarks_count_is_this_one() -> None:
    for workload in MODELS.values():
        config = transformers.AutoConfig.for_model(
            workload.architecture,
            hidden_size=workload.hidden,
            intermediate_size=workload.intermediate,
            num_hidden_layers=workload.layers,
            num_attention_heads=workload.heads,
            num_key_value_heads=workload.key_value_heads,
            vocab_size=workload.vocabulary,
            tie_word_embeddings=workload.tied,
        )
        with torch.device("meta"):
            counted = PairFlops.from_model(AutoModelForCausalLM.from_config(config))
        assert counted.forward(PAIR) == workload.forward_flops(5, 3, 4)


def test_peaks_by_name() -> None:
    bfloat16, float32 = torch.bfloat16, torch.float32
    assert known_peak("NVIDIA H100 80GB HBM3", bfloat16) == 989e12
    assert known_peak("NVIDIA H100 PCIe", bfloat16) == 756e12
    assert known_peak("NVIDIA A100-SXM4-80GB", float32) == 19.5e12
    assert known_peak("NVIDIA A10G", bfloat16) is None, "another chip than the A10"
    assert 1e9 < measured_peak(float32) < 1e14


def test_rows_count_useful_tokens_and_padding(make_job: Callable[..., DpoJob]) -> None:
    for path in ("fast", "plain"):
        # Every step is one micro-batch.
        job = make_job(path, *sentiment(16), path=path, micro_batch_tokens=1000)
        result = train_round(job, lambda *_: None)
        pairs = list(load_pairs(job.preferences, job.completions))
        rows = read_rows(job.curve_path)
        assert sum(row["tokens"] for row in rows) == sum(pair.tokens for pair in pairs)
        for row in rows:
            assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
            assert 0 < row["mfu"] < 1 and row["peak_memory_gib"] > 0.05
        assert 0 < result.mfu < 1
        if path == "fast":
            assert {row["padding_share"] for row in rows} == {0.0}
        else:
            assert all(0.05 < row["padding_share"] < 0.6 for row in rows)
