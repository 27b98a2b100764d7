"""The fast path against the plain one: for every architecture, every loss, however it is cut."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput
from dpo_core.loss_options import TRAITS
from dpo_core.tables import read_rows
from dpo_core.training.attention.segment_attention import Window
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes.choose_path import choose_path
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.packing import pack
from dpo_core.training.passes.pass_over_pairs import TokenLogps
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, attention_for
from dpo_core.training.trainer import train_round
from dpo_core.training.warm_start.sft import batch_logps
from dpo_core.training.warm_start.sft_examples import Example

from ..conftest import sentiment

CPU = Runtime(torch.device("cpu"), torch.float32)
VOCABULARY = 97

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,  # or attention and logits are so flat that a wrong mask goes unseen
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama, all heads": ("LlamaConfig", {"num_key_value_heads": 4}),
    "qwen2, tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen2, sliding window": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "mistral, sliding window": ("MistralConfig", {"sliding_window": 5}),
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "gemma2, capped": (
        "Gemma2Config",
        {
            "head_dim": 8,
            "sliding_window": 5,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 4.0,
            "query_pre_attn_scalar": 8,
        },
    ),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 6}),
    "phi-moe, window in the mask alone": (
        "PhimoeConfig",
        {"sliding_window": 5, "num_local_experts": 3, "num_experts_per_tok": 2},
    ),
    "qwen2-moe, window in the mask alone": (
        "Qwen2MoeConfig",
        {
            "use_sliding_window": True,
            "sliding_window": 5,
            "max_window_layers": 1,
            "num_experts": 3,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "shared_expert_intermediate_size": 24,
        },
    ),
    "olmoe, window that its mask has not": (
        "OlmoeConfig",
        {"sliding_window": 5, "num_experts": 3, "num_experts_per_tok": 2},
    ),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {}),
    "gpt-neox": ("GPTNeoXConfig", {}),
    "cohere, scaled logits": ("CohereConfig", {"logit_scale": 0.1}),
    "granite, scaled logits": ("GraniteConfig", {"logits_scaling": 3.0}),
}


def build(architecture: str) -> Any:
    return build_from(*ARCHITECTURES[architecture])


def build_from(name: str, own: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, name)(**SMALL | own)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_for(config))
    return model.float().eval()


def random_pairs(count: int, longest: int = 15) -> list[TrainingPair]:
    chosen = random.Random(0)

    def ids(most: int) -> list[int]:
        return [chosen.randrange(3, VOCABULARY) for _ in range(chosen.randint(1, most))]

    return [TrainingPair(str(i), ids(12), ids(longest), ids(longest)) for i in range(count)]


def random_slopes(pairs: list[TrainingPair]) -> Callable[[Any, TokenLogps], Tensor]:
    generator = torch.Generator().manual_seed(1)
    by_id = {
        p.pair_id: torch.randn(len(p.chosen_ids) + len(p.rejected_ids), generator=generator)
        for p in pairs
    }
    return lambda part, _: torch.cat([by_id[pair.pair_id] for pair in part])


def gradients(model: Any) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head_rows", [512, 9])  # 9: some chunks are one pair, some pairs are two
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_probs_and_gradients_are_those_of_the_plain_path(
    architecture: str, head_rows: int
) -> None:
    model, pairs = build(architecture), random_pairs(6)
    slopes = random_slopes(pairs)
    plain = PlainPath(model, CPU, collisions=True)
    expected = plain.logps(pairs)
    plain.backward(pairs, slopes)
    expected_gradients = gradients(model)
    model.zero_grad()

    fast = FastPath(model, CPU, head_rows=head_rows, collisions=True)
    found = fast.logps(pairs)
    fast.backward(pairs, slopes)

    # Against float64 either pass is off by up to 1.4e-5 here: log-probs of size 10 in float32.
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(found.logps_N, expected.logps_N, **close)
    assert found.log_collisions_N is not None and expected.log_collisions_N is not None
    torch.testing.assert_close(found.log_collisions_N, expected.log_collisions_N, **close)
    for name, gradient in gradients(model).items():
        scale = expected_gradients[name].abs().max().clamp(min=1e-2)
        # Against float64, the plain path's own float32 gradients are off by up to 2.5e-5 here.
        torch.testing.assert_close(
            gradient / scale, expected_gradients[name] / scale, rtol=0, atol=5e-5
        )


@pytest.mark.parametrize(
    "architecture",
    ["llama", "qwen2, tied", "qwen3", "gemma2, capped", "olmoe, window that its mask has not"],
)
def test_bfloat16_is_as_exact_as_on_the_plain_path(architecture: str) -> None:
    """Log-probs and gradients, by what float32 finds."""
    model, pairs = build(architecture), random_pairs(6)
    slopes = random_slopes(pairs)
    narrow = Runtime(CPU.device, torch.bfloat16)

    def found(path: PlainPath | FastPath) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        path.backward(pairs, slopes)
        return path.logps(pairs).logps_N, torch.cat(
            [g.flatten() for g in gradients(model).values()]
        )

    expected, theirs = found(PlainPath(model, CPU)), found(PlainPath(model, narrow))
    ours = found(FastPath(model, narrow, head_rows=512))
    for our, their, right in zip(ours, theirs, expected, strict=True):
        assert not torch.equal(our, right)
        assert (our - right).norm() <= 1.5 * (their - right).norm()


def test_the_row_holds_each_prompt_once_and_no_padding() -> None:
    pairs = random_pairs(5)
    packed = pack(pairs, CPU.device)
    assert packed.input_ids_1T.shape[1] == sum(pair.tokens for pair in pairs)
    # What predicts a token stands one position before it, in its own prompt or completion.
    first = pairs[0]
    prompt, chosen = len(first.prompt_ids), len(first.chosen_ids)
    predictors = packed.predictors_N[: chosen + len(first.rejected_ids)].tolist()
    assert predictors[0] == predictors[chosen] == prompt - 1
    assert predictors[1:chosen] == list(range(prompt, prompt + chosen - 1))
    assert packed.position_ids_1T[0, prompt + chosen].item() == prompt


def test_a_pair_sees_neither_its_rival_nor_other_pairs() -> None:
    model = build("llama")
    fast = FastPath(model, CPU, head_rows=512)
    pair, other = random_pairs(2)
    alone = fast.logps([pair]).logps_N[: len(pair.chosen_ids)]
    rival = TrainingPair("changed", pair.prompt_ids, pair.chosen_ids, other.rejected_ids)
    for company in ([rival], [pair, other]):
        among = fast.logps(company).logps_N[: len(pair.chosen_ids)]
        torch.testing.assert_close(among, alone, rtol=0, atol=1e-5)


def lengths(*tokens: tuple[int, int, int]) -> list[TrainingPair]:
    """Pairs with so many tokens of prompt, chosen and rejected."""
    pairs = random_pairs(len(tokens), longest=40)
    numbers = [n % (VOCABULARY - 3) + 3 for n in range(300)]
    return [
        TrainingPair(p.pair_id, numbers[:a], numbers[a : a + b], numbers[a + b : a + b + c])
        for p, (a, b, c) in zip(pairs, tokens, strict=True)
    ]


def test_the_longest_sequence_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs within the window say nothing of it: as if masks without one were all there are."""
    monkeypatch.setattr(Window, "known", True, raising=False)
    monkeypatch.setattr(Window, "tokens", None, raising=False)
    monkeypatch.setattr(Window, "__init__", lambda *_: None)
    model = build("mistral, sliding window")
    path, why = choose_path(model, lengths((2, 2, 2), (1, 3, 2)), TrainingConfig(), CPU)
    assert (path.name, why) == ("fast", "")
    model = build("mistral, sliding window")
    some = lengths((2, 2, 2), (1, 3, 2), (3, 40, 2))
    path, why = choose_path(model, some, TrainingConfig(), CPU)
    assert path.name == "plain" and "on long pairs" in why


ROPES: dict[str, tuple[str, dict[str, Any]]] = {
    "longrope": (
        "Phi3Config",
        {
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "short_factor": [1.0] * 4,
                "long_factor": [2.0, 3.0, 4.0, 5.0],
            },
        },
    ),
    "dynamic": (
        "LlamaConfig",
        {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        },
    ),
}


@pytest.mark.parametrize("rope", ROPES)
def test_positions_of_a_sequence_depend_on_its_own_length_alone(rope: str) -> None:
    pairs = lengths((9, 20, 5), (4, 3, 2), (9, 12, 20))
    path, why = choose_path(build_from(*ROPES[rope]), pairs, TrainingConfig(), CPU)
    assert path.name == "plain" and "some sequences are longer than 16 tokens" in why
    with pytest.raises(BadInput, match="on sequence length"):
        choose_path(build_from(*ROPES[rope]), pairs, TrainingConfig(path="fast"), CPU)
    together = path.logps(pairs).logps_N
    one_by_one = torch.cat([path.logps([pair]).logps_N for pair in pairs])
    torch.testing.assert_close(one_by_one, together, rtol=0, atol=1e-5)
    # By itself, a sequence has what a model says that saw no other.
    for pair in pairs:
        ids = [*pair.prompt_ids, *pair.chosen_ids]
        with torch.no_grad():
            logits_TV = build_from(*ROPES[rope])(torch.tensor([ids])).logits[0]
        expected = logits_TV.log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        found = path.logps([pair]).logps_N[: len(pair.chosen_ids)]
        torch.testing.assert_close(found, expected[len(pair.prompt_ids) - 1 :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("rope", ROPES)
def test_a_warm_start_says_of_an_example_the_same_in_every_batch(rope: str) -> None:
    model = build_from(*ROPES[rope])
    examples = [Example(p.prompt_ids, p.chosen_ids) for p in lengths((9, 20, 5), (4, 3, 2))]
    together = batch_logps(model, examples, CPU.device)
    apart = torch.cat([batch_logps(model, [example], CPU.device) for example in examples])
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rope", ROPES)
def test_short_sequences_take_the_fast_path_with_such_positions(rope: str) -> None:
    path, why = choose_path(
        build_from(*ROPES[rope]), lengths((9, 7, 5), (4, 3, 2)), TrainingConfig(), CPU
    )
    assert (path.name, why) == ("fast", "")


def bloom() -> Any:
    """Its attention is its own; drawn at random, all its answers are near uniform."""
    config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2)
    return AutoModelForCausalLM.from_config(config).float().eval()


def test_attention_that_cannot_be_selected_is_found_however_little_it_moves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, why = choose_path(bloom(), random_pairs(3), TrainingConfig(), CPU)
    assert "its attention cannot be selected by name" in why and why in caplog.text


def test_a_model_the_fast_path_does_not_know_takes_the_plain_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    pairs = random_pairs(3)
    with caplog.at_level(logging.WARNING):
        path, why = choose_path(model, pairs, TrainingConfig(), CPU)
    assert path.name == "plain"
    assert "MambaForCausalLM cannot take the fast path" in why and why in caplog.text
    with pytest.raises(BadInput, match="path: plain"):
        choose_path(model, pairs, TrainingConfig(path="fast"), CPU)


def curve(job: DpoJob) -> np.ndarray:
    compared = ["margin", "chosen_logratio"] if job.config.has_reference else []
    names = ["loss", "gradient_norm", *compared]
    return np.array([[row[name] for name in names] for row in read_rows(job.curve_path)])


OPTIONS: dict[str, dict[str, Any]] = {
    "exo_pair": {"label_smoothing": 0.1},
    "simpo": {"beta": 2.0},
    "ipo": {"beta": 0.5},
}
VARIANTS = [
    *({"loss": name, **OPTIONS.get(name, {})} for name in TRAITS),
    {"wpo": True},
    {"ld_alpha": 0.3},
    {"nll_weight": 0.2},
    {"divergence": "js_divergence"},
]


@pytest.mark.parametrize(
    "options", VARIANTS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_paths_and_micro_batches_move_no_number(
    make_job: Callable[..., DpoJob], options: dict[str, Any]
) -> None:
    """Three runs of one round: plain, fast, and fast pair by pair."""

    def train(name: str, **cut: Any) -> tuple[np.ndarray, dict[str, Tensor]]:
        job = make_job(name, *sentiment(21), epochs=2, **{"learning_rate": 3e-4, **options, **cut})
        result = train_round(job, lambda *_: None)
        assert result.path == cut["path"]
        return curve(job), load_file(job.out_dir / "model.safetensors")

    plain, weights = train("plain", path="plain", micro_batch_tokens=200)
    for name, tokens in (("fast", 400), ("pair by pair", 1)):
        found, found_weights = train(name, path="fast", micro_batch_tokens=tokens)
        scale = np.maximum(1, np.abs(plain))
        # Log-ratios are sums of up to 15 such differences; 2e-5 was seen on an AMD processor.
        assert (np.abs(found - plain) / scale).max() < 3e-5
        for key, tensor in found_weights.items():
            torch.testing.assert_close(tensor, weights[key], rtol=0, atol=2e-5)


def test_the_saved_policy_does_not_name_our_attention(
    make_job: Callable[..., DpoJob], tiny: Path
) -> None:
    job = make_job("round", *sentiment(8))
    train_round(job, lambda *_: None)
    saved, original = ((d / "config.json").read_text() for d in (job.out_dir, tiny))
    assert "ratchet" not in saved
    assert set(saved.splitlines()) == set(original.splitlines())
