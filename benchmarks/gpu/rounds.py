"""Whole rounds on this device: with LoRA, stopped and resumed, and one of the demo's."""

import math
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from benchmarks.dpo_round import workload
from benchmarks.dpo_round.kinds import CUDA
from benchmarks.gpu.results import Bench
from dpo_core.config import LoraConfig, SftConfig, TrainingConfig
from dpo_core.errors import Interrupted
from dpo_core.hashing import policy_id
from dpo_core.records import Completion, Prompt, Score, prompt_id, prompt_row
from dpo_core.schemas import PREFERENCES, PROMPTS
from dpo_core.tables import iterate_rows, read_rows, write_rows
from dpo_core.training.jobs import BaseJob, DpoJob
from dpo_core.training.lora import adapt, save_merged
from dpo_core.training.runtime import load_master
from dpo_core.training.trainer import train_round
from dpo_core.training.warm_start.base_policy import prepare_base
from examples.reviews import grammar
from examples.reviews.judge import score
from generation.config import SamplingConfig
from generation.jobs import SampleJob
from generation.sampling import load_tokenizer, sample_rows
from generation.transformers_engine import TransformersEngine
from labeling.pairs.config import PairsConfig
from labeling.pairs.selection import select_pairs

TINY = workload.Model("llama", 2, 2, 512, tied=False, pairs=16, hidden=64, intermediate=96)
DEMO = Path(__file__).parents[2] / "configs" / "demo-cpu.yaml"
_ADAPTERS = {"rank": 16, "alpha": 32.0}
_SAME_LOSS = {"float32": 1e-4, "bfloat16": CUDA.loss_difference}
"""Of a step, relative to ln 2."""
_SAME_LOGITS = 1e-5
_CPU = torch.device("cpu")


def quiet(*_: Any) -> None:
    """A report that nobody reads."""


def rounds_of(bench: Bench) -> Callable[..., DpoJob]:
    """make(name, **config) -> a round on one model and the same pairs, in a folder of its own."""
    model = TINY if bench.tiny else workload.MODELS["A"]
    workload.build(model, bench.folder / "model", bench.device)
    chosen = random.Random(0)
    lengths = [workload.usual_lengths(chosen) for _ in range(model.pairs)]
    if bench.tiny:
        lengths = [(prompt // 8, better // 8, worse // 8) for prompt, better, worse in lengths]
    workload.write(bench.folder, list(workload.pairs(model.vocabulary, lengths)))

    def make(name: str, **config: Any) -> DpoJob:
        folder = bench.folder / name
        folder.mkdir()
        return DpoJob(
            policy_dir=bench.folder / "model",
            preferences=bench.folder / "preferences.parquet",
            completions=bench.folder / "completions.parquet",
            out_dir=folder / "policy",
            curve_path=folder / "training.parquet",
            reference_logps_path=folder / "reference_logps.parquet",
            checkpoints=folder / "checkpoints",
            config=TrainingConfig(**{"learning_rate": 1e-3, "pairs_per_step": 8, **config}),
            seed=workload.SEED,
            threads=torch.get_num_threads(),
        )

    return make


# ── LoRA ─────────────────────────────────────────────────────────────────────────────────────────


def lora(bench: Bench) -> None:
    """Both passes train the same adapters, and the saved policy says what the adapted one does."""
    make = rounds_of(bench)
    for dtype, bound in _SAME_LOSS.items():
        with bench.trying(dtype):
            fast, plain = (
                _losses(
                    make(
                        f"{path}-{dtype}",
                        path=path,
                        lora=_ADAPTERS,
                        compute_dtype=dtype,
                        epochs=3,
                    )
                )
                for path in ("fast", "plain")
            )
            far = max(abs(a - b) / math.log(2) for a, b in zip(fast, plain, strict=True))
            bench.at_most(f"{dtype}: losses of the fast and the plain pass", far, bound)
            bench.at_least(f"{dtype}: what the loss falls by", math.log(2) - fast[-1], 2 * bound)
    with bench.trying("merged"):
        bench.at_most("logits of the merged policy", _merged(bench), _SAME_LOGITS)


def _losses(job: DpoJob) -> list[float]:
    train_round(job, quiet)
    return [row["loss"] for row in read_rows(job.curve_path, ["loss"])]


@torch.no_grad()
def _merged(bench: Bench) -> float:
    """Largest difference between an adapted policy and what is saved of it, relative to logits."""
    policy, merged = bench.folder / "model", bench.folder / "merged"
    device, ids = torch.device(bench.device), torch.arange(4, 40)[None].to(bench.device)
    adapted = adapt(load_master(policy, device), LoraConfig(**_ADAPTERS), 0, torch.float32)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=0.02)
    expected = adapted(ids).logits
    save_merged(adapted, policy, merged, None)
    found = AutoModelForCausalLM.from_pretrained(merged).to(device).eval()(ids).logits
    return float((found - expected).abs().max() / expected.abs().max())


# ── stopped and resumed ──────────────────────────────────────────────────────────────────────────


def resume(bench: Bench) -> None:
    """Weights of equal rounds, one of which was stopped in the middle, bit for bit."""
    make = rounds_of(bench)
    for what, options in {"all weights": {}, "LoRA": {"lora": _ADAPTERS}}.items():
        with bench.trying(what):
            _stop_and_resume(bench, what, partial(make, **options))


def _stop_and_resume(bench: Bench, what: str, make: Callable[..., DpoJob]) -> None:
    whole, again, stopped = (make(f"{name} {what}") for name in ("whole", "again", "stopped"))
    steps = train_round(whole, quiet).steps
    train_round(again, quiet)
    bench.at_most(f"{what}: repeated, weights that differ", differing(whole, again), 0)
    with suppress(Interrupted):
        train_round(stopped, _stop_at(steps // 2))
    result = train_round(stopped, quiet)
    bench.at_least(f"{what}: steps before the stop", result.resumed_from_step, steps // 2)
    bench.at_most(f"{what}: resumed, weights that differ", differing(whole, stopped), 0)


def _stop_at(step: int) -> Callable[[int, int, str], None]:
    """A report that asks for a stop as the system does."""

    def report(done: int, total: int, unit: str) -> None:
        if unit == "steps" and done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return report


def differing(one: DpoJob, other: DpoJob) -> int:
    """How many numbers of two trained policies are not the same, bit for bit."""
    first, second = (load_file(job.out_dir / "model.safetensors") for job in (one, other))
    assert first.keys() == second.keys(), "two policies of one model"
    return sum(int((first[name] != second[name]).sum()) for name in first)


# ── the demo's round ─────────────────────────────────────────────────────────────────────────────


Judge = Callable[[Sequence[Completion]], list[Score]]


def count_words(completions: Sequence[Completion]) -> list[Score]:
    """What the judge of a dry run goes by, whose policy has hardly learnt to write."""
    words = [completion.text.split() for completion in completions]
    return [
        Score(float(sum(w in grammar.POSITIVE for w in s) - sum(w in grammar.NEGATIVE for w in s)))
        for s in words
    ]


def few_reviews(seed: int) -> Iterator[dict[str, str]]:
    return grammar.reviews(seed, 200)


@dataclass(frozen=True)
class Demo:
    """The demo's own numbers, and how many prompts train and are held out."""

    sft: SftConfig
    sampling: SamplingConfig
    judge: Judge
    pairs: PairsConfig
    training: TrainingConfig
    prompts: int
    held_out: int

    @classmethod
    def of(cls, bench: Bench) -> "Demo":
        raw = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
        if bench.tiny:
            raw["sft"] |= {"steps": 6, "batch_size": 16, "function": f"{__name__}:few_reviews"}
            raw["sampling"] |= {"max_tokens": 8}
            raw["pairs"] |= {"truncated": "keep", "min_margin": 0.0}
        return cls(
            SftConfig(**raw["sft"]),
            SamplingConfig(**raw["sampling"] | {"engine": "transformers"}),
            count_words if bench.tiny else score,
            PairsConfig(**raw["pairs"]),
            TrainingConfig(**raw["training"]),
            prompts=8 if bench.tiny else raw["prompts"]["per_round"],
            held_out=8 if bench.tiny else raw["evaluation"]["gate_prompts"],
        )


def demo_round(bench: Bench) -> None:
    """Warm start, answers, scores, pairs, training, held-out answers: the round wins."""
    demo, folder = Demo.of(bench), bench.folder
    threads = torch.get_num_threads()
    started = prepare_base(
        BaseJob(
            build="examples.reviews.model:build",
            sft=demo.sft,
            out_dir=folder / "base",
            curve_path=folder / "sft.parquet",
            threads=threads,
        ),
        quiet,
    )
    bench.figure("warm start", started.seconds_sft, "s")
    rows = [prompt["prompt"] for prompt in grammar.prompts()]
    random.Random(0).shuffle(rows)
    engine = TransformersEngine(demo.sampling, folder / "base")
    answers = Answers(folder, engine, demo.sampling)
    train = answers.to("train", rows[: demo.prompts], demo.sampling.samples_per_prompt, bench)
    held_out = rows[demo.prompts : demo.prompts + demo.held_out]
    before = answers.to("before", held_out, 1, bench)
    kept = write_rows(folder / "preferences.parquet", _preferences(train, demo), PREFERENCES)
    bench.at_least("pairs", kept, 1)
    job = DpoJob(
        policy_dir=folder / "base",
        preferences=folder / "preferences.parquet",
        completions=folder / "train.parquet",
        out_dir=folder / "policy",
        curve_path=folder / "training.parquet",
        reference_logps_path=folder / "reference_logps.parquet",
        config=demo.training,
        threads=threads,
    )
    result = train_round(job, quiet)
    off = abs(result.first_loss - math.log(2))
    bench.at_most("first loss, off ln 2", off, _SAME_LOSS[result.dtype])
    bench.takes_fast_pass(result.path, result.why_not_fast)
    engine.load(folder / "policy")
    after = answers.to("after", held_out, 1, bench)
    rate = _win_rate(demo.judge(after), demo.judge(before))
    if bench.tiny:
        bench.figure("win rate of the new policy", rate, "")
    else:
        bench.at_least("win rate of the new policy", rate, 0.55)


@dataclass(frozen=True)
class Answers:
    """Answers of whatever policy the engine has loaded."""

    folder: Path
    engine: TransformersEngine
    config: SamplingConfig

    def to(self, name: str, texts: Sequence[str], samples: int, bench: Bench) -> list[Completion]:
        """The completions, which `name`.parquet then holds."""
        prompts = {(p := Prompt(prompt_id(text, None), text)).prompt_id: p for text in texts}
        asked = self.folder / f"{name}-prompts.parquet"
        write_rows(asked, map(prompt_row, prompts.values()), PROMPTS)
        job = SampleJob(
            policy=self.folder / "base",
            policy_id=policy_id(self.folder / "base"),
            source=asked,
            out=self.folder / f"{name}.parquet",
            samples_per_prompt=samples,
            seed=workload.SEED,
        )
        tokenizer = load_tokenizer(self.folder / "base")
        counts = sample_rows(self.engine, tokenizer, job, self.config, quiet)
        rate = counts.tokens / counts.seconds_engine
        bench.figure(f"sampled {name}", rate, "tokens/s")
        return [_completion(row, prompts) for row in iterate_rows(job.out)]


def _completion(row: Mapping[str, Any], prompts: Mapping[str, Prompt]) -> Completion:
    return Completion(
        row["completion_id"],
        prompts[row["prompt_id"]],
        row["text"],
        row["finish_reason"],
        len(row["token_ids"]),
        row["sample_index"],
    )


def _preferences(completions: Sequence[Completion], demo: Demo) -> Iterator[dict[str, Any]]:
    """Rows of preferences: the judge's better answer of each selected pair."""
    by_prompt: dict[str, list[Completion]] = {}
    for completion in completions:
        by_prompt.setdefault(completion.prompt.prompt_id, []).append(completion)
    for answers in by_prompt.values():
        scores = {
            c.completion_id: s.value for c, s in zip(answers, demo.judge(answers), strict=True)
        }
        for pair in select_pairs(answers, scores, demo.pairs, workload.SEED).pairs:
            chosen, rejected = sorted((pair.a, pair.b), key=lambda i: -(scores[i] or 0))
            yield {
                "pair_id": pair.pair_id,
                "prompt_id": pair.prompt_id,
                "chosen": chosen,
                "rejected": rejected,
                "p_chosen": 1.0,
                "sources": ["reviews"],
                "agreement": 1.0,
            }


def _win_rate(after: Sequence[Score], before: Sequence[Score]) -> float:
    """Of answers to the same prompts; a tie is half a win."""
    won = [_won(a.value or 0.0, b.value or 0.0) for a, b in zip(after, before, strict=True)]
    return sum(won) / len(won)


def _won(one: float, other: float) -> float:
    return 0.5 if one == other else float(one > other)
