"""The base and the policy at the end, asked: answers by `ratchet evaluate`, and log-probs of texts
by the process that samples."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.real.campaign import group_of, ratchet
from benchmarks.real.kept import Took, kept
from benchmarks.real.questions import Questions, Text
from benchmarks.real.results import BASE, Answered, Answers, Likelihood
from dpo_core.hashing import content_id, policy_id
from dpo_core.records import Completion
from dpo_core.schemas import SCORED
from dpo_core.tables import read_rows, write_rows
from flows.config import CampaignConfig
from flows.read_records import read_completions
from flows.session import Session
from flows.steps.answer_logps import write_logps
from generation.sampling import encode_prompt, load_tokenizer
from reporting.progress import CampaignProgress

TEXT_TOKENS = 1024
"""Most of a text with its prompt; longer ones are left out."""


@dataclass(frozen=True)
class Asked:
    """A policy beside the base, and the config by which they answer. number: the round of the
    policy; folders: of both, by their rounds."""

    config: CampaignConfig
    number: int
    folders: Mapping[int, Path]

    @property
    def ids(self) -> list[str]:
        return [policy_id(self.folders[number]) for number in (BASE, self.number)]


def ask(asked: Asked, questions: Questions, parts: Path) -> tuple[Answered, Took, Path]:
    """Both policies' answers; they are kept in the folder that is named last, one of `parts`."""
    words = _words(asked.config, questions)
    policies = [str(asked.folders[number]) for number in (asked.number, BASE)]
    folder = parts / f"{questions.name}-{_key(asked.ids, words, questions.rows)}"

    def make(beside: Path) -> None:
        prompts = beside / "questions.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) for row in questions.rows)
        prompts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        places = ["--prompts", str(prompts), "--out", str(beside / "answers")]
        room = {"VLLM_CPU_KVCACHE_SPACE": str(questions.room_gib)}
        ratchet("evaluate", *policies, *places, *words, env=room)

    took = kept(folder, make)
    return _answered(folder / "answers", questions, asked.number), took, folder / "answers"


def weigh(
    asked: Asked, texts: Mapping[str, Sequence[Text]], parts: Path
) -> tuple[dict[str, Likelihood], Took]:
    """Log-probs that both policies give to each token of the texts, which are kept in `parts`."""
    numbers = (BASE, asked.number)
    folder = parts / f"texts-{_key(asked.ids, [str(TEXT_TOKENS)], _plainly(texts))}"

    def make(beside: Path) -> None:
        write_rows(beside / "texts.parquet", _rows(texts, asked.folders[BASE]), SCORED)
        sampling = asked.config.sampling.model_copy(update={"max_model_len": TEXT_TOKENS})
        config = asked.config.model_copy(update={"sampling": sampling, "track": ()})
        with TemporaryDirectory() as scratch, _session(Path(scratch), config) as session:
            for number in numbers:
                weights, out = asked.folders[number], beside / f"{number}.parquet"
                write_logps(session, weights, beside / "texts.parquet", out)

    took = kept(folder, make)
    return {name: _likelihood(folder, name, numbers) for name in texts}, took


def _words(config: CampaignConfig, questions: Questions) -> list[str]:
    """Options of `ratchet evaluate`: the campaign's sampling, but for what the questions set."""
    sampling = config.sampling
    sets = (
        f"sampling.max_model_len={sampling.max_model_len or 'null'}",
        f"sampling.dtype={sampling.dtype}",
        f"threads={config.threads}",
        *questions.sets,
    )
    return [
        *("--judge", questions.rule, "--engine", sampling.engine),
        *("--max-tokens", str(questions.max_tokens)),
        *(word for one in sets for word in ("--set", one)),
    ]


def _key(policies: Sequence[str], words: Sequence[str], rows: Any) -> str:
    """Changes with whatever the answers depend on."""
    return content_id("part", policies, words, rows)[:8]


def _answered(folder: Path, questions: Questions, final: int) -> Answered:
    """What `ratchet evaluate --out` left, judged once more, prompt by prompt."""
    by_round = {
        number: _by_prompt(folder / f"answers_{name}.parquet", folder / "prompts.parquet")
        for number, name in ((BASE, "b"), (final, "a"))
    }
    order = sorted(by_round[BASE])
    found = {}
    for number, by_prompt in by_round.items():
        answers = [by_prompt[prompt_id] for prompt_id in order]
        values = (score.value for score in questions.judge(answers))
        found[number] = Answers(
            [None if value is None else value == 1 for value in values],
            [c.finished for c in answers],
            [c.tokens for c in answers],
        )
    return Answered([group_of(by_round[BASE][prompt_id].prompt) for prompt_id in order], found)


def _by_prompt(answers: Path, prompts: Path) -> dict[str, Completion]:
    return {c.prompt.prompt_id: c for c in read_completions(answers, prompts)}


def _plainly(texts: Mapping[str, Sequence[Text]]) -> dict[str, list[str]]:
    """What a key can be made of."""
    return {
        name: [f"{one.prompt.shown() if one.prompt else ''}\n{one.text}" for one in each]
        for name, each in texts.items()
    }


def _rows(texts: Mapping[str, Sequence[Text]], policy: Path) -> Iterator[dict[str, Any]]:
    """Each text as token ids after those of its prompt, or of its own first token; without those
    that are too long."""
    tokenizer = load_tokenizer(policy)
    for name, each in texts.items():
        for number, text in enumerate(each):
            ids = tokenizer(text.text, add_special_tokens=False)["input_ids"]
            before = encode_prompt(tokenizer, text.prompt) if text.prompt else ids[:1]
            after = ids if text.prompt else ids[1:]
            if len(before) + len(after) < TEXT_TOKENS:
                identity = f"{name}/{number}"
                yield {
                    "completion_id": identity,
                    "prompt_token_ids": before,
                    "token_ids": after,
                }


@contextmanager
def _session(folder: Path, config: CampaignConfig) -> Iterator[Session]:
    console = Console(stderr=True, soft_wrap=True)
    with (
        CampaignProgress(console, 1) as progress,
        Session.open(folder, config, progress) as session,
    ):
        yield session


def _likelihood(folder: Path, name: str, numbers: Sequence[int]) -> Likelihood:
    rows = read_rows(folder / "texts.parquet", ["completion_id", "token_ids"])
    tokens = {
        row["completion_id"]: len(row["token_ids"])
        for row in rows
        if row["completion_id"].startswith(f"{name}/")
    }
    nats = {}
    for number in numbers:
        logps = read_rows(folder / f"{number}.parquet")
        by_id = {row["completion_id"]: -row["logp"] for row in logps}
        nats[number] = [by_id[identity] for identity in tokens]
    return Likelihood(list(tokens.values()), nats)
