"""What vLLM says a token's log-probability is, is what transformers says, and it repeats itself."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from dpo_core.children import Child
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import CONTINUATIONS, PROMPTS
from dpo_core.tables import read_rows, write_rows
from examples.reviews.grammar import WORDS
from examples.reviews.model import build
from flows.compute.pool import WorkerPool
from flows.compute.shards import carry_out_in_shards
from generation.config import SamplingConfig
from generation.engine import DecodingOptions
from generation.jobs import ContinuationsJob, SampleJob, ScoreJob

MAX_MODEL_LEN, MAX_TOKENS, SAMPLES, SEED = 24, 16, 3, 5
ENV = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
# The longest of these prompts and an answer cut at MAX_TOKENS fill MAX_MODEL_LEN less one.
TEXTS = [" ".join(WORDS[start : start + 1 + start % 7]) for start in range(40)]

Rows = dict[tuple[str, int], dict[str, Any]]


class Sampler:
    """A sampling process and the files that one test gives it."""

    def __init__(self, folder: Path, shard_prompts: int) -> None:
        self.folder = folder
        self.config = SamplingConfig(
            max_tokens=MAX_TOKENS, max_model_len=MAX_MODEL_LEN, shard_prompts=shard_prompts
        )
        log = folder / "worker.log"
        self.pool = WorkerPool(lambda _: Child.start("generation.worker", log, ENV))
        self.child, _ = self.pool.worker()

    def sample(self, policy: Path, texts: Sequence[str], name: str, **more: Any) -> Path:
        prompts, out = self.folder / "prompts.parquet", self.folder / f"{name}.parquet"
        rows = [prompt_row(Prompt(prompt_id(text, None), text=text)) for text in texts]
        write_rows(prompts, rows, PROMPTS)
        job = SampleJob(
            policy=policy,
            config=self.config,
            policy_id=policy.name,
            source=prompts,
            out=out,
            samples_per_prompt=SAMPLES,
            seed=SEED,
        )
        job = job.model_copy(update=more)
        carry_out_in_shards(job, self.pool, Path("/"), 1, lambda *_: None)
        return out

    def logps(self, policy: Path, completions: Path) -> dict[str, float]:
        out = self.folder / "logps.parquet"
        self.child.carry_out(
            ScoreJob(policy=policy, config=self.config, source=completions, out=out)
        )
        return {row["completion_id"]: row["logp"] for row in read_rows(out)}

    def likelihoods(self, policy: Path, asked: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
        """asked: name → (prompt, what comes after it)."""
        continuations, out = self.folder / "given.parquet", self.folder / "likelihoods.parquet"
        rows = (
            {"continuation_id": n, "prompt_id": n, "prompt": p, "messages": None, "continuation": c}
            for n, (p, c) in asked.items()
        )
        write_rows(continuations, rows, CONTINUATIONS)
        job = ContinuationsJob(policy=policy, config=self.config, source=continuations, out=out)
        self.child.carry_out(job)
        return {row["continuation_id"]: row for row in read_rows(out)}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two policies of one form with decided opinions, unlike a fresh model."""
    folder = tmp_path_factory.mktemp("policies")
    return _policy(folder / "first", 0), _policy(folder / "second", 1)


def _policy(folder: Path, seed: int) -> Path:
    build(folder, seed=seed, hidden_size=128, layers=2)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(4 if weights.dim() == 2 else 1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sampler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sampler]:
    made = Sampler(tmp_path_factory.mktemp("sampler"), shard_prompts=1024)
    with made.child:
        yield made


@pytest.fixture(scope="module")
def answers(sampler: Sampler, policies: tuple[Path, Path]) -> tuple[Path, Path]:
    """Answers of the first policy and, from the same engine with new weights, of the second."""
    first, second = policies
    return sampler.sample(first, TEXTS, "first"), sampler.sample(second, TEXTS, "second")


@torch.inference_mode()
def token_logps(policy: Path, rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """log π of each completion token by transformers, one sequence at a time: no padding at all."""
    model = AutoModelForCausalLM.from_pretrained(policy).eval()
    found = []
    for row in rows:
        prompt, tokens = row["prompt_token_ids"], row["token_ids"]
        ids_1T = torch.tensor([prompt + tokens])
        logps_TV = model(ids_1T).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        found.append(logps_TV.gather(-1, torch.tensor(tokens)[:, None])[:, 0].tolist())
    return found


@pytest.mark.parametrize("which", [0, 1], ids=["first load", "new weights"])
def test_sampled_logps_are_those_of_the_policy(
    policies: tuple[Path, Path], answers: tuple[Path, Path], which: int
) -> None:
    rows = read_rows(answers[which])
    assert len(rows) == SAMPLES * len(TEXTS)
    expected = token_logps(policies[which], rows)
    gaps = [
        abs(sampled - exact)
        for row, exacts in zip(rows, expected, strict=True)
        for sampled, exact in zip(row["token_logps"], exacts, strict=True)
    ]
    assert max(gaps) < 1e-4
    assert sum(gaps) / len(gaps) < 1e-5
    assert any(row["finish_reason"] == "length" for row in rows)


def test_logps_of_another_policys_answers(
    sampler: Sampler, policies: tuple[Path, Path], answers: tuple[Path, Path]
) -> None:
    """The pass that KL is measured with: the second policy's answers under the first."""
    rows = read_rows(answers[1])
    found = sampler.logps(policies[0], answers[1])
    expected = map(sum, token_logps(policies[0], rows))
    for row, exact in zip(rows, expected, strict=True):
        # 1e-4 nats for each token of the sum.
        assert found[row["completion_id"]] == pytest.approx(exact, abs=1e-4 * MAX_TOKENS)


def test_greedy_answers_are_the_likeliest_continuations(
    sampler: Sampler, policies: tuple[Path, Path]
) -> None:
    """Of the first words of an answer, and not of others; with the log-probs of transformers."""
    greedy = DecodingOptions(max_tokens=4, temperature=0.0, top_p=1.0)
    made = sampler.sample(policies[0], TEXTS, "greedy", samples_per_prompt=1, decoding=greedy)
    prompts = {prompt_id(text, None): text for text in TEXTS}
    rows = [row for row in read_rows(made) if row["finish_reason"] == "length"]
    assert len(rows) > 9 and {len(row["token_ids"]) for row in rows} == {4}
    asked, expected = {}, {}
    logps = iter(token_logps(policies[0], rows))
    for row in rows:
        prompt, words = prompts[row["prompt_id"]], row["text"].split()
        name, other = row["prompt_id"], next(word for word in WORDS if word != words[3])
        asked[name] = (prompt, " " + " ".join(words))
        asked[f"not {name}"] = (prompt, " " + " ".join([*words[:3], other]))
        expected[name] = sum(next(logps))
    found = sampler.likelihoods(policies[0], asked)
    assert {n for n, row in found.items() if row["greedy"]} == set(expected)
    for name, logp in expected.items():
        assert found[name]["logp"] == pytest.approx(logp, abs=1e-4)


def test_new_weights_order_and_shards_change_no_bit(
    tmp_path: Path, policies: tuple[Path, Path], answers: tuple[Path, Path]
) -> None:
    """A live engine with new weights samples what a fresh process samples, in any order."""
    fresh = Sampler(tmp_path, shard_prompts=7)
    with fresh.child:
        again = fresh.sample(policies[1], TEXTS[::-1], "again")
    assert _by_answer(again) == _by_answer(answers[1])
    assert _by_answer(again) != _by_answer(answers[0])


def test_prompt_that_leaves_no_room_is_dropped_and_the_longest_that_does_is_scored(
    sampler: Sampler, policies: tuple[Path, Path]
) -> None:
    """Scoring needs one position more than sampling: vLLM cannot but sample a token after it."""
    fits = [" ".join(["the"] * length) for length in range(1, MAX_MODEL_LEN - MAX_TOKENS + 2)]
    out = sampler.sample(policies[0], fits, "long")
    rows = read_rows(out)
    lengths = {len(row["prompt_token_ids"]) for row in rows}
    assert lengths == set(range(1, MAX_MODEL_LEN - MAX_TOKENS))
    assert max(len(row["prompt_token_ids"] + row["token_ids"]) for row in rows) == MAX_MODEL_LEN - 1
    assert len(sampler.logps(policies[1], out)) == len(rows)


def _by_answer(completions: Path) -> Rows:
    return {(row["prompt_id"], row["sample_index"]): row for row in read_rows(completions)}
