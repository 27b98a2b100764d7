"""What a seed came to: one small JSON file, from which the page is made.

Every prompt is in it with what became of each policy's answer, so that intervals can be had over
several seeds together. No prompt and no answer is, but for a few examples of this project's own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.real.kept import Took
from dpo_core.atomic import write_json

FORMAT = 1
BASE = 0
"""As the round of a policy."""

Known = Sequence[bool | None]
"""Of each prompt whether something holds; None where it was not asked, or nobody could tell."""


@dataclass(frozen=True)
class Answers:
    """One policy's answers, one to each prompt. followed: all instructions, or, where the prompts
    are word problems, right. relevant: nothing where the base was not asked."""

    followed: Known
    finished: Sequence[bool]
    tokens: Sequence[int]
    relevant: Known = ()


@dataclass(frozen=True)
class Answered:
    """Prompts, and the answers of several policies to them, by their rounds. groups: of each prompt
    what it has in common with others, so that they are no independent evidence."""

    groups: Sequence[str]
    policies: Mapping[int, Answers]


@dataclass(frozen=True)
class Likelihood:
    """Of texts that others wrote: tokens of each, and −log π in nats by the policies' rounds."""

    tokens: Sequence[int]
    nats: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Example:
    """A prompt with the answers of the base and of the policy at the end."""

    prompt: str
    base: str
    final: str


@dataclass(frozen=True)
class Result:
    """rounds: their numbers, by the names of metrics.parquet. final: the round promoted last; of
    it and the base are `after`, answers to other prompts, and `texts`. policies: their ids."""

    arm: str
    seed: int
    rounds: Sequence[Mapping[str, Any]]
    policies: Mapping[int, str]
    trained: Answered
    after: Mapping[str, Answered] = field(default_factory=dict)
    texts: Mapping[str, Likelihood] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    took: Mapping[str, Took] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> int:
        return max((row["round"] for row in self.rounds if row["promoted"]), default=BASE)


def file_name(arm: str, seed: int) -> str:
    """Of a result."""
    return f"{'seed' if arm == 'rounds' else arm}-{seed}.json"


def write_result(result: Result, folder: Path) -> Path:
    path = folder / file_name(result.arm, result.seed)
    found = asdict(result)
    found["trained"] = _answered_text(result.trained)
    found["after"] = {name: _answered_text(one) for name, one in result.after.items()}
    found["texts"] = {name: _likelihood_text(one) for name, one in result.texts.items()}
    write_json(path, {"format": FORMAT, **found})
    return path


def read_result(path: Path) -> Result:
    """Raises ValueError for a file of another format."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if found.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is no result of format {FORMAT}")
    return Result(
        **{
            **found,
            "policies": _by_round(found["policies"]),
            "trained": _answered(found["trained"]),
            "after": {name: _answered(one) for name, one in found["after"].items()},
            "texts": {name: _likelihood(one) for name, one in found["texts"].items()},
            "examples": [Example(**one) for one in found["examples"]],
            "took": {name: Took(**one) for name, one in found["took"].items()},
        }
    )


def read_results(folder: Path) -> list[Result]:
    """All that lie in `folder`."""
    return [read_result(path) for path in sorted(folder.glob("*-*.json"))]


# In the file a column of one value per prompt is one text, so that it is one line.


def _answered_text(answered: Answered) -> dict[str, Any]:
    return {
        "groups": " ".join(answered.groups),
        "policies": {
            number: {
                "followed": _marks(one.followed),
                "finished": _marks(one.finished),
                "tokens": " ".join(map(str, one.tokens)),
                "relevant": _marks(one.relevant),
            }
            for number, one in answered.policies.items()
        },
    }


def _answered(found: Mapping[str, Any]) -> Answered:
    policies = {
        number: Answers(
            _from_marks(one["followed"]),
            [mark == "1" for mark in one["finished"]],
            [int(count) for count in one["tokens"].split()],
            _from_marks(one["relevant"]),
        )
        for number, one in _by_round(found["policies"]).items()
    }
    return Answered(found["groups"].split(), policies)


def _likelihood_text(texts: Likelihood) -> dict[str, Any]:
    nats = {n: " ".join(f"{one:.3f}" for one in each) for n, each in texts.nats.items()}
    return {"tokens": " ".join(map(str, texts.tokens)), "nats": nats}


def _likelihood(found: Mapping[str, Any]) -> Likelihood:
    nats = {n: [float(x) for x in each.split()] for n, each in _by_round(found["nats"]).items()}
    return Likelihood([int(count) for count in found["tokens"].split()], nats)


def _by_round(found: Mapping[str, Any]) -> dict[int, Any]:
    return {int(number): value for number, value in found.items()}


def _marks(known: Known) -> str:
    return "".join("-" if one is None else str(int(one)) for one in known)


def _from_marks(text: str) -> list[bool | None]:
    return [None if mark == "-" else mark == "1" for mark in text]
