"""Sampling with transformers: seeded per sample, from the policy's own distribution.

B sequences, T tokens, V vocabulary.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Sample, SampleRequest
from generation.transformers_engine import TransformersEngine

V, EOS = 13, 2
PROMPTS = [[1, 5, 6], [1, 7], [1, 8, 9, 10, 11], [1, 3]]


def model(seed: int = 0, scale: float = 1.0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=EOS,
        initializer_range=0.3 * scale,  # far from uniform
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    model().save_pretrained(folder)
    return folder


def engine(policy: Path, **config: object) -> TransformersEngine:
    settings = {"engine": "transformers", "max_tokens": 12, **config}
    return TransformersEngine(SamplingConfig.model_validate(settings), policy)


def ask(engine: TransformersEngine, requests: list[SampleRequest]) -> list[list[Sample]]:
    ticks: list[int] = []
    answers = engine.sample(requests, ticks.append)
    assert sum(ticks) == sum(request.n for request in requests)
    return answers


def requests(n: int = 5) -> list[SampleRequest]:
    return [SampleRequest(ids, seed=1_000 * number, n=n) for number, ids in enumerate(PROMPTS)]


def tokens(answers: list[list[Sample]]) -> list[list[list[int]]]:
    return [[sample.token_ids for sample in samples] for samples in answers]


@torch.inference_mode()
def logps(prompt: list[int], completion: list[int]) -> list[float]:
    """log π of each token of the completion, one forward pass per sequence without padding."""
    logits_TV = model()(torch.tensor([prompt + completion])).logits[0]
    logps_TV = logits_TV.log_softmax(-1)
    return [float(logps_TV[len(prompt) - 1 + i, token]) for i, token in enumerate(completion)]


def test_tokens_depend_on_the_seed_and_on_nothing_around_them(policy: Path) -> None:
    asked = requests()
    together = tokens(ask(engine(policy), asked))
    assert tokens(ask(engine(policy), asked[::-1]))[::-1] == together
    assert [tokens(ask(engine(policy), [request]))[0] for request in asked] == together
    fewer = [SampleRequest(r.prompt_token_ids, r.seed, n=2) for r in asked]
    assert tokens(ask(engine(policy), fewer)) == [samples[:2] for samples in together]
    third_alone = SampleRequest(PROMPTS[0], asked[0].seed + 2, n=1)
    assert tokens(ask(engine(policy), [third_alone]))[0] == [together[0][2]]
    other = [SampleRequest(r.prompt_token_ids, r.seed + 100, r.n) for r in asked]
    assert tokens(ask(engine(policy), other)) != together


def test_eos_ends_a_completion_exactly_when_it_stopped(policy: Path) -> None:
    answers = ask(engine(policy), requests(n=40))
    reasons = Counter(sample.finish_reason for samples in answers for sample in samples)
    assert set(reasons) == {"stop", "length"}
    for sample in (sample for samples in answers for sample in samples):
        assert len(sample.token_logps) == len(sample.token_ids) > 0
        assert EOS not in sample.token_ids[:-1]
        if sample.finish_reason == "stop":
            assert sample.token_ids[-1] == EOS
        else:
            assert sample.token_ids[-1] != EOS and len(sample.token_ids) == 12


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.7, "top_p": 0.8}])
def test_log_probs_are_those_of_the_policy_itself(policy: Path, sampling: dict[str, float]) -> None:
    answers = ask(engine(policy, **sampling), requests())
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        for sample in samples:
            assert sample.token_logps == pytest.approx(logps(prompt, sample.token_ids), abs=1e-4)


def test_scores_equal_the_sums_that_sampling_reported(policy: Path) -> None:
    answers = ask(engine(policy), requests())
    pairs = [(p, s) for p, samples in zip(PROMPTS, answers, strict=True) for s in samples]
    prompts, samples = [p for p, _ in pairs], [s for _, s in pairs]
    scored = engine(policy).logps(prompts, [s.token_ids for s in samples])
    assert scored == pytest.approx([sum(s.token_logps) for s in samples], abs=1e-3)
    by_hand = [sum(logps(p, s.token_ids)) for p, s in pairs]
    assert scored == pytest.approx(by_hand, abs=1e-3)


def test_generation_settings_of_the_model_do_not_change_the_distribution(
    policy: Path, tmp_path: Path
) -> None:
    """Chat models ship repetition penalties and such; log π would no longer be that of a sample."""
    changed = model()
    changed.generation_config.update(
        repetition_penalty=5.0, no_repeat_ngram_size=1, min_new_tokens=8, suppress_tokens=[3, 4, 5]
    )
    changed.save_pretrained(tmp_path)
    assert tokens(ask(engine(tmp_path), requests())) == tokens(ask(engine(policy), requests()))


def first_tokens(policy: Path, count: int, **sampling: float) -> list[int]:
    asked = [SampleRequest(PROMPTS[0], seed=9_000, n=count)]
    (samples,) = ask(engine(policy, max_tokens=1, **sampling), asked)
    return [sample.token_ids[0] for sample in samples]


def distribution(temperature: float = 1.0) -> torch.Tensor:
    with torch.inference_mode():
        logits_V = model()(torch.tensor([PROMPTS[0]])).logits[0, -1]
    return (logits_V / temperature).softmax(-1)


CHI_SQUARE_999 = {
    12: 32.9,
    11: 31.3,
    10: 29.6,
    9: 27.9,
    8: 26.1,
    7: 24.3,
    6: 22.5,
    5: 20.5,
    4: 18.5,
}
"""0.999 quantiles of chi-square by degrees of freedom."""


def assert_drawn_from(drawn: list[int], probabilities_V: torch.Tensor) -> None:
    """Pearson's test; cells that expect fewer than 5 are joined."""
    counts = Counter(drawn)
    expected = {token: p * len(drawn) for token, p in enumerate(probabilities_V.tolist())}
    assert all(expected[token] > 0 for token in counts)
    large = [token for token, value in expected.items() if value >= 5]
    cells = [(counts[token], expected[token]) for token in large]
    rest = sum(expected.values()) - sum(value for _, value in cells)
    if rest > 1:
        cells.append((len(drawn) - sum(observed for observed, _ in cells), rest))
    statistic = sum((observed - value) ** 2 / value for observed, value in cells)
    assert len(cells) > 4  # or the test would say little
    assert statistic < CHI_SQUARE_999[len(cells) - 1]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_frequencies_match_the_probabilities(policy: Path, temperature: float) -> None:
    drawn = first_tokens(policy, 4_000, temperature=temperature)
    assert_drawn_from(drawn, distribution(temperature))


def test_top_p_keeps_the_smallest_set_of_that_mass(policy: Path) -> None:
    probabilities_V = distribution(2.0)
    kept, mass = [], 0.0
    for token in probabilities_V.argsort(descending=True).tolist():
        if mass < 0.8:
            kept.append(token)
            mass += float(probabilities_V[token])
    truncated_V = torch.zeros(V)
    truncated_V[kept] = probabilities_V[kept] / mass
    drawn = first_tokens(policy, 4_000, temperature=2.0, top_p=0.8)
    assert set(drawn) <= set(kept) and len(kept) < V
    assert_drawn_from(drawn, truncated_V)


def test_new_weights_answer_from_the_next_call_on(policy: Path, tmp_path: Path) -> None:
    model(seed=1).save_pretrained(tmp_path)
    swapped = engine(policy)
    before = tokens(ask(swapped, requests()))
    swapped.load(tmp_path)
    after = tokens(ask(swapped, requests()))
    assert after == tokens(ask(engine(tmp_path), requests())) != before


def test_several_eos_tokens(policy: Path, tmp_path: Path) -> None:
    changed = model()
    changed.generation_config.eos_token_id = [EOS, 7]
    changed.save_pretrained(tmp_path)
    answers = ask(engine(tmp_path), requests(n=40))
    ends = Counter(
        s.token_ids[-1] for samples in answers for s in samples if s.finish_reason == "stop"
    )
    assert set(ends) == {EOS, 7}
    assert all(7 not in s.token_ids[:-1] for samples in answers for s in samples)


def test_length_limit_of_model_and_config(policy: Path) -> None:
    assert engine(policy).max_model_len == 64
    assert engine(policy, max_model_len=40).max_model_len == 40
    assert engine(policy, max_model_len=400).max_model_len == 64


def test_greedily_the_likeliest_token_is_taken_whatever_the_seed(policy: Path) -> None:
    asked = [SampleRequest(ids, seed=number, n=1) for number, ids in enumerate(PROMPTS)]
    greedy = DecodingOptions(max_tokens=6, temperature=0.0, top_p=1.0)
    found = [one for [one] in engine(policy).sample(asked, lambda _: None, greedy)]
    for prompt, sample in zip(PROMPTS, found, strict=True):
        said = prompt + sample.token_ids
        logits_TV = model()(torch.tensor([said])).logits[0]
        assert logits_TV.argmax(-1)[len(prompt) - 1 : -1].tolist() == sample.token_ids
        assert sample.token_logps == pytest.approx(logps(prompt, sample.token_ids), abs=1e-4)
        assert len(sample.token_ids) == 6 or sample.finish_reason == "stop"


def test_a_completion_is_greedy_where_each_token_is_the_likeliest(policy: Path) -> None:
    asked = [SampleRequest(ids, seed=number, n=1) for number, ids in enumerate(PROMPTS)]
    greedy = DecodingOptions(max_tokens=6, temperature=0.0, top_p=1.0)
    said = [one.token_ids for [one] in engine(policy).sample(asked, lambda _: None, greedy)]
    others = [[*ids[:-1], (ids[-1] + 1) % V] for ids in said]
    found = engine(policy).likelihoods(PROMPTS * 2, said + others)
    assert [one.greedy for one in found] == [True] * len(said) + [False] * len(said)
    expected = [sum(logps(p, c)) for p, c in zip(PROMPTS * 2, said + others, strict=True)]
    assert [one.logp for one in found] == pytest.approx(expected, abs=1e-4)
