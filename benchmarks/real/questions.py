"""What is asked of the base and of the policy at the end, beside the campaign's own prompts."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.records import Completion, Prompt, Score, prompt_id
from examples import answer_match
from examples.instructions import judge
from generation.config import PromptsConfig
from generation.prompts import read_pool

UNSEEN, PROBLEMS, SOLUTIONS = 256, 96, 192
"""Prompts of unseen kinds, word problems, and their solutions, of which log-probs are taken."""
PLAIN = Path(__file__).parent / "plain.txt"
_ANNOTATION = re.compile(r"<<[^<>]*>>")
Row = dict[str, Any]


@dataclass(frozen=True)
class Questions:
    """Prompts for `ratchet evaluate`. judge: what its option names, and the same as a function.

    sets: overrides beside those that all have, such as how answers are sampled. room_gib: for keys
    and values of long answers, on a CPU.
    """

    name: str
    rows: Sequence[Row]
    rule: str
    judge: Callable[[Sequence[Completion]], list[Score]]
    max_tokens: int
    sets: Sequence[str] = ()
    room_gib: int = 1


def unseen(prompts: PromptsConfig, max_tokens: int, most: int = UNSEEN) -> Questions:
    """Kinds that no policy was trained on, about requests that are held out as well.

    The first prompts by their ids, which are hashes: the same for all seeds. prompts: those of the
    campaign, whose split this is.
    """
    function = "examples.instructions.prompts:unseen"
    pool = prompts.model_copy(update={"function": function, "path": None, "dataset": None})
    held_out = sorted((p for p in read_pool(pool) if p.split == "test"), key=lambda p: p.prompt_id)
    rows = [{"messages": list(p.messages or ()), **p.extra} for p in held_out[:most]]
    return Questions("unseen", rows, f"{judge.__name__}:followed", judge.followed, max_tokens)


def ifeval(folder: Path, most: int | None = None) -> Questions:
    """IFEval's public prompts as chats. Greedy, as is customary, up to temperature 0.01, which is
    the least that vLLM divides by; 512 tokens, for some ask for 400 words."""
    rows = [
        {"messages": _asked(row["prompt"]), **{k: v for k, v in row.items() if k != "prompt"}}
        for row in read_lines(folder / "input_data.jsonl")[:most]
    ]
    sets = ("sampling.temperature=0.01", "sampling.max_model_len=1024")
    return Questions(
        "ifeval", rows, f"{judge.__name__}:ifeval", judge.ifeval, 512, sets, room_gib=2
    )


def problems(folder: Path, most: int = PROBLEMS) -> Questions:
    """The first of GSM8K's test problems, greedy as IFEval."""
    rows = list(answer_match.chat_rows(read_lines(folder / "test.jsonl")[:most]))
    sets = ("sampling.temperature=0.01", "sampling.max_model_len=640")
    rule = f"{answer_match.__name__}:score"
    return Questions("gsm8k", rows, rule, answer_match.score, 256, sets)


@dataclass(frozen=True)
class Text:
    """What somebody wrote, as an answer to `prompt`; without one, as it stands."""

    text: str
    prompt: Prompt | None = None


def solutions(folder: Path, most: int = SOLUTIONS) -> list[Text]:
    """Reference solutions of GSM8K's first test problems, without the annotations between << and >>
    that a calculator was called with: a title is written so as well."""
    found = []
    for row in read_lines(folder / "test.jsonl")[:most]:
        messages = tuple(_asked(row["question"]))
        said = _ANNOTATION.sub("", row["answer"])
        found.append(Text(said, Prompt(prompt_id(None, messages), messages=messages)))
    return found


def plain_texts(most: int | None = None) -> list[Text]:
    """A few pages of everyday prose, by the paragraph, written for this."""
    return [Text(line) for line in PLAIN.read_text(encoding="utf-8").splitlines()[:most]]


def read_lines(path: Path) -> list[Row]:
    """A JSON object per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]
