"""Gold pairs: their verdict is known, and hidden among the others they measure annotators."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import LabelsError
from dpo_core.hashing import content_id
from dpo_core.records import VERDICTS, Verdict, prompt_tags


@dataclass(frozen=True)
class GoldItem:
    """Messages, two responses, and the right verdict.

    tags: as prompts have them, so that gold pairs do not stand out.
    """

    pair_id: str
    messages: tuple[Mapping[str, str], ...]
    a: str
    b: str
    verdict: Verdict
    tags: tuple[str, ...] = ()


def read_gold(path: Path) -> list[GoldItem]:
    """Read rows of {prompt, a, b, verdict}, with a prompt of text or a list of messages.

    Raises LabelsError with the line that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"people.gold: cannot read {path}: {error}", "Check the path.") from None
    return [_gold(line, f"{path} line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def _gold(line: str, where: str) -> GoldItem:
    try:
        row = json.loads(line)
        messages, a, b, verdict = _messages(row["prompt"]), row["a"], row["b"], row["verdict"]
    except (ValueError, KeyError, TypeError):
        raise _unreadable(where) from None
    if verdict not in VERDICTS or not isinstance(a, str) or not isinstance(b, str):
        raise _unreadable(where)
    identity = content_id("gold", [dict(m) for m in messages], a, b)
    return GoldItem(identity, messages, a, b, verdict, prompt_tags(row))


def _messages(prompt: Any) -> tuple[Mapping[str, str], ...]:
    if isinstance(prompt, str):
        return ({"role": "user", "content": prompt},)
    return tuple({"role": str(m["role"]), "content": str(m["content"])} for m in prompt)


def _unreadable(where: str) -> LabelsError:
    return LabelsError(
        f"people.gold: {where} is not a pair with a known verdict",
        'A line reads {"prompt": "…", "a": "…", "b": "…", "verdict": "a"}; verdicts are '
        + ", ".join(VERDICTS)
        + "; a prompt may be a list of {role, content}.",
    )
