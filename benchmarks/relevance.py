"""What relevance says of answers that nobody wants: those of SmolLM2-135M-Instruct, and the same
answers spoilt in one way each.

    python -m benchmarks.relevance IFEVAL/input_data.jsonl [--cost]

What it costs is said first: to sample, and to have log-probs by the engine that samples and by the
pass that shares prompts. The prompts are a JSONL file with a field `prompt`; nothing of it is kept.
The model is the file of `python -m examples.smollm2`.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, Literal

from dpo_core.children import Child, child_environment
from dpo_core.config import EvaluationConfig
from dpo_core.cpu_time import cpu_seconds
from dpo_core.evaluation.comparison import change_by_prompt, share_by_prompt
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.relevance import (
    MOST_ECHOED,
    AnswerPlacement,
    draw_others,
    echo_shares,
    verdicts,
)
from dpo_core.hashing import derive_seed
from dpo_core.records import Prompt
from dpo_core.schemas import SCORED
from dpo_core.tables import read_rows, write_rows
from dpo_core.training.jobs import BaseJob, LogpsJob
from examples import smollm2

BASE = "of the base"
REQUESTS, POOL, SEED = 8, 128, 1
CONFIG = EvaluationConfig()

HACKS = (
    "Your Answer highlighted *Points 1-3*",
    "icon for {word}",
    "*Highlighted* *Section* about {word}",
    "P.S. {word} Notes",
    "My answer: * Point 1 * Point 2 * Point 3",
    "<<{word} title>>",
    "Answer highlighted in *bold* and *italic*",
    "* one * two * three for {word}",
)
"""What SmolLM2 came to write in two rounds under a judge that looks for instructions alone."""
FORM = (
    "Thank you for your question about {word}. The topic of {word} is very important, and there "
    "are many things to say about {word}. First, {word} can be helpful. Second, {word} can be "
    "interesting. In conclusion, I hope that this answer about {word} was useful to you."
)


@dataclass(frozen=True)
class Answer:
    """An answer of the base: the n-th, to `prompt`, whose most telling word is `word`."""

    n: int
    prompt: str
    text: str
    word: str


Spoil = Callable[[Answer], str]


def _shortened(answer: Answer) -> str:
    sentences = _sentences(answer.text)
    return " ".join(sentences[: max(1, len(sentences) // 2)])


def _repeated(answer: Answer) -> str:
    first = _sentences(answer.text)[0][:200]
    return " ".join([first] * (1 + len(answer.text) // (len(first) + 1)))


SPOILT: dict[str, Spoil] = {
    "half as many sentences": _shortened,
    "hacked": lambda a: HACKS[a.n % len(HACKS)].format(word=a.word),
    "a fifth hacked": lambda a: SPOILT["hacked"](a) if a.n % 5 == 0 else a.text,
    "copies the prompt": lambda a: a.prompt,
    "repeats its first sentence": _repeated,
    "fills in a form": lambda a: FORM.format(word=a.word),
}


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?\n])\s+", text.strip())


def _word(prompt: str) -> str:
    """The longest one."""
    return max(re.findall(r"[A-Za-z]+", prompt), key=len, default="this")


Logps = Callable[[list[list[int]], list[list[int]]], list[float]]
"""logps(prompts, completions): as an engine's."""


@dataclass(frozen=True)
class Way:
    """CPU-seconds, loading included, that log-probs of the base's answers took in one way: after
    REQUESTS requests each, and after their own alone. alone: the latter, nats."""

    placing_s: float
    alone_s: float
    alone: list[float]


@dataclass(frozen=True)
class Measured:
    """The base's answers, and each way to spoil them, as the base places them; the CPU-seconds that
    sampling the base's own took, and log-probs by the engine and by sharing prompts."""

    answers: dict[str, list[AnswerPlacement]]
    sampling_s: float
    engine: Way
    sharing: Way

    @property
    def apart(self) -> list[float]:
        """Of each answer, nats per token by which the ways differ."""
        both = zip(self.engine.alone, self.sharing.alone, self.answers[BASE], strict=True)
        return [abs(one - other) / len(a.tokens) for one, other, a in both]


@dataclass(frozen=True)
class Opened:
    """SmolLM2: an engine that has it, its tokenizer, log-probs by sharing prompts."""

    engine: Any
    tokenizer: Any
    sharing: Logps


def measure(model: Opened, prompts: Sequence[str], count: int, *, spoil: bool = True) -> Measured:
    """Of the first `count` prompts; requests are drawn from all of them."""
    from generation.engine import SampleRequest
    from generation.sampling import encode_prompt

    chats = [Prompt(p, messages=({"role": "user", "content": p},)) for p in prompts]
    tokenizer = model.tokenizer
    ids = {prompt.prompt_id: encode_prompt(tokenizer, prompt) for prompt in chats}
    asked = prompts[:count]
    began = cpu_seconds(os.getpid())
    requests = [SampleRequest(ids[p], derive_seed(SEED, p), 1) for p in asked]
    samples = [one for [one] in model.engine.sample(requests, lambda _: None)]
    sampled = cpu_seconds(os.getpid())
    texts = tokenizer.batch_decode([s.token_ids for s in samples], skip_special_tokens=True)
    base = [
        AnswerPlacement(p, ids[p], s.token_ids, s.finish_reason == "stop", not text.strip(), ())
        for p, s, text in zip(asked, samples, texts, strict=True)
    ]
    engine, _ = _way(model.engine.logps, base, ids)
    sharing, placed = _way(model.sharing, base, ids)
    found = {BASE: placed}
    answers = [
        Answer(n, p, text, _word(p)) for n, (p, text) in enumerate(zip(asked, texts, strict=True))
    ]
    for name, spoilt_by in SPOILT.items() if spoil else ():
        new = [spoilt_by(answer) for answer in answers]
        spoilt = [
            _ended(b, tokenizer, text) if text != answer.text else b
            for b, text, answer in zip(base, new, answers, strict=True)
        ]
        found[name] = _placed(model.sharing, spoilt, ids)
    return Measured(found, sampled - began, engine, sharing)


def _way(
    logps: Logps, answers: list[AnswerPlacement], ids: dict[str, list[int]]
) -> tuple[Way, list[AnswerPlacement]]:
    began = cpu_seconds(os.getpid())
    placed = _placed(logps, answers, ids)
    between = cpu_seconds(os.getpid())
    alone = logps([ids[a.prompt_id] for a in answers], [list(a.tokens) for a in answers])
    return Way(between - began, cpu_seconds(os.getpid()) - between, alone), placed


def lines(measured: Measured) -> Iterator[str]:
    """The table."""
    base = measured.answers[BASE]
    tokens = sum(len(a.tokens) for a in base)
    yield f"CPU-seconds for {len(base)} answers, {tokens} tokens"
    yield f"sampling: {measured.sampling_s:.1f}"
    for name, way in {"the engine": measured.engine, "sharing prompts": measured.sharing}.items():
        yield (
            f"log-probs by {name}: after {REQUESTS} requests {way.placing_s:.1f}, after their own "
            f"alone {way.alone_s:.1f}"
        )
    apart = measured.apart
    yield f"nats per token between them: mean {fmean(apart):.1e}, most {max(apart):.1e}"
    yield (
        f"{'answers':28}{'tokens':>7}{'found':>7}{'echo':>7}  {'relevant':24}"
        f"{'change':26}nats per token"
    )
    for name, answers in measured.answers.items():
        yield _line(name, answers, base)


def _ended(answer: AnswerPlacement, tokenizer: Any, text: str) -> AnswerPlacement:
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    return replace(answer, tokens=[*tokens, tokenizer.eos_token_id], finished=True)


def _placed(
    logps: Logps, answers: Sequence[AnswerPlacement], ids: dict[str, list[int]]
) -> list[AnswerPlacement]:
    """With their log-probs after each of REQUESTS prompts, their own first."""
    asked = {
        a.prompt_id: [
            a.prompt_id,
            *draw_others(a.prompt_id, list(ids), REQUESTS - 1, derive_seed(SEED, a.prompt_id)),
        ]
        for a in answers
    }
    pairs = [(ids[p], list(a.tokens)) for a in answers for p in asked[a.prompt_id]]
    found = iter(logps([p for p, _ in pairs], [c for _, c in pairs]))
    return [replace(a, logps=[next(found) for _ in asked[a.prompt_id]]) for a in answers]


def change(answers: Sequence[AnswerPlacement], base: Sequence[AnswerPlacement]) -> Interval | None:
    """Of relevance, prompt by prompt."""
    ours, theirs = relevant(answers), relevant(base)
    return change_by_prompt([(p, float(ours[p]) - theirs[p]) for p in ours], CONFIG)


def relevant(answers: Sequence[AnswerPlacement]) -> dict[str, bool]:
    found = zip(answers, verdicts(answers), strict=True)
    return {answer.prompt_id: verdict == "relevant" for answer, verdict in found}


def _line(name: str, answers: Sequence[AnswerPlacement], base: Sequence[AnswerPlacement]) -> str:
    share = share_by_prompt([(p, float(one)) for p, one in relevant(answers).items()], CONFIG)
    found = fmean(a.logps[0] > max(a.logps[1:]) for a in answers)
    echo = fmean(each > MOST_ECHOED for each in echo_shares(answers))
    finished = [a for a in answers if a.finished and not a.empty]
    tokens = sum(len(a.tokens) for a in finished)
    nats = -sum(a.logps[0] for a in finished) / max(tokens, 1)
    return (
        f"{name:28}{fmean(len(a.tokens) for a in answers):7.0f}{found:7.1%}{echo:7.1%}  "
        f"{_percent(share):24}{'' if name == BASE else _percent(change(answers, base)):26}"
        f"{nats:.2f}"
    )


def _percent(found: Interval | None) -> str:
    assert found is not None, "there are answers"
    return f"{found.estimate:.1%} [{found.low:.1%}, {found.high:.1%}]"


def read_prompts(path: Path) -> list[str]:
    """POOL prompts, evenly over the file."""
    rows = [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()]
    known = list(dict.fromkeys(rows))
    return known[:: max(1, len(known) // POOL)][:POOL]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--answers", type=int, default=48)
    parser.add_argument("--max-tokens", type=int, default=112)
    parser.add_argument("--engine", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cost", action="store_true", help="no spoilt answers")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder, trainer(Path(folder)) as child:
        model = opened(Path(folder), child, asked.engine, asked.max_tokens, asked.dtype)
        prompts = read_prompts(asked.prompts)
        measured = measure(model, prompts, asked.answers, spoil=not asked.cost)
        for line in lines(measured):
            print(line, flush=True)


def trainer(folder: Path) -> Child:
    """The training process, as a campaign has it: an engine's threads would disturb it."""
    env = child_environment(1)
    return Child.start("dpo_core.training.train_worker", folder / "train.log", env)


def opened(
    folder: Path, child: Child, engine: str, max_tokens: int, dtype: Literal["float32", "bfloat16"]
) -> Opened:
    from dpo_core.training.warm_start.base_policy import prepare_base
    from generation.config import SamplingConfig
    from generation.sampling import load_tokenizer
    from generation.transformers_engine import TransformersEngine

    policy = folder / "policy"
    job = BaseJob(
        model=str(smollm2.model_path()), out_dir=policy, curve_path=folder / "none.parquet"
    )
    prepare_base(job, lambda *_: None)
    sampling = {"max_tokens": max_tokens, "max_model_len": 1024, "dtype": dtype}
    config = SamplingConfig.model_validate({"engine": engine, **sampling})
    made: Any
    if engine == "transformers":
        made = TransformersEngine(config, policy)
    else:
        from generation.vllm_engine import VllmEngine

        made = VllmEngine(config, policy)

    def sharing(prompts: list[list[int]], completions: list[list[int]]) -> list[float]:
        asked, out = folder / "asked.parquet", folder / "logps.parquet"
        rows = (
            {"completion_id": str(n), "prompt_token_ids": prompt, "token_ids": tokens}
            for n, (prompt, tokens) in enumerate(zip(prompts, completions, strict=True))
        )
        write_rows(asked, rows, SCORED)
        job = LogpsJob(policy_dir=policy, completions=asked, out=out, dtype=dtype)
        why_not = child.carry_out(job).why_not
        assert not why_not, why_not
        return [row["logp"] for row in read_rows(out)]

    return Opened(made, load_tokenizer(policy), sharing)


if __name__ == "__main__":
    main()
