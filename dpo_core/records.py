"""Records that pass between the steps of a round, and the rows that hold them in parquet files.

A *pair* is two completions of one prompt, a *judgement* is one source's verdict on a pair, and a
*preference* is the aggregate of a pair's judgements. Loads neither torch nor a model library.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

from dpo_core.hashing import content_id, normalise, text_id
from dpo_core.row_types import VOLATILE, Int32, Messages, VolatileTime

Split = Literal["train", "gate", "test"]
Verdict = Literal["a", "b", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "both_bad")
Side = Literal["a", "b"]
OTHER_SIDE: Mapping[Side, Side] = {"a": "b", "b": "a"}

HUMAN = "human:"
"""Prefix of the source of a person's judgements; the annotator's name follows."""


@dataclass(frozen=True)
class Prompt:
    """One prompt: plain `text`, or chat `messages` of {"role", "content"}; never both.

    extra: the other fields of the prompt's row, such as a reference answer or tags, for judges.
    split: "train" prompts are sampled for training, "gate" and "test" prompts are held out.
    """

    prompt_id: str
    text: str | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    split: Split = "train"

    def shown(self) -> str:
        """The prompt as people read it: its text, or one line per message.

        Example:
            >>> Prompt("p1", messages=({"role": "user", "content": "Hi!"},)).shown()
            'user: Hi!'
        """
        if self.text is not None:
            return self.text
        return "\n".join(f"{m['role']}: {m['content']}" for m in self.messages or ())


def prompt_tags(row: Mapping[str, object]) -> tuple[str, ...]:
    """The tags of a prompt's row: its field `tags`, a list or a single tag.

    Example:
        >>> prompt_tags({"tags": ["maths", 7]}), prompt_tags({"tags": "maths"}), prompt_tags({})
        (('maths', '7'), ('maths',), ())
    """
    tags = row.get("tags") or ()
    return tuple(map(str, tags if isinstance(tags, list | tuple) else [tags]))


def prompt_id(text: str | None, messages: tuple[Mapping[str, str], ...] | None) -> str:
    """Id of a prompt, 16 hex characters: hash of its normalised text or messages.

    Example:
        >>> prompt_id("How  old?", None) == prompt_id("how old?", None)
        True
    """
    if text is not None:
        return text_id("prompt", normalise(text))
    return content_id("messages", [[m["role"], normalise(m["content"])] for m in messages or ()])


@dataclass(frozen=True)
class Completion:
    """One sampled answer as a judge sees it.

    finish_reason: "stop" where the policy ended the answer itself, "length" where it was cut.
    tokens: number of tokens, EOS included. sample_index: number among the prompt's samples, from 0.
    """

    completion_id: str
    prompt: Prompt
    text: str
    finish_reason: str
    tokens: int
    sample_index: int = 0

    @property
    def finished(self) -> bool:
        """Whether the policy ended the answer itself, rather than being cut at the length limit."""
        return self.finish_reason == "stop"

    @property
    def is_empty(self) -> bool:
        """Whether it has no visible character: only spaces, controls and invisible ones."""
        return not any(c.isprintable() and not c.isspace() for c in self.text)


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt in the order in which a judge reads them."""

    pair_id: str
    a: Completion
    b: Completion

    def swapped(self) -> "Pair":
        """The same pair, read in the other order."""
        return Pair(self.pair_id, self.b, self.a)


@dataclass(frozen=True)
class Cost:
    """Cost of judgements: tokens read and written, and money in the config's currency."""

    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.money + other.money,
        )


@dataclass(frozen=True)
class Score:
    """A pointwise judgement of one completion.

    value: the score, higher is better; None is an abstention. A value that is not finite becomes an
        abstention, because NaN and infinity would lose or win every comparison.
    reason: of an abstention, or for the value.
    measures: task-specific shares reported over rounds: name → (numerator, denominator), summed
        over completions, such as correct annotations of all annotations.
    raw: a model judge's reply. cost: of the judgement.

    Example:
        >>> Score(float("nan")).value is None
        True
    """

    value: float | None
    reason: str = ""
    measures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    raw: str | None = None
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        if self.value is not None and not _is_finite(self.value):
            object.__setattr__(self, "reason", f"the score is not finite: {self.value!r:.80}")
            object.__setattr__(self, "value", None)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):  # user code creates scores, too
        return False


@dataclass(frozen=True)
class Judgement:
    """One source's verdict on one pair.

    verdict: None is an abstention. reason: of an abstention, or for the verdict. confidence: the
    source's own probability that the verdict is right. raw: a model judge's reply. forward,
    backward: verdicts with a read first and with b read first, both in terms of a and b, where the
    source read both orders. caused_by: for an abstention, the one side whose answer could not be
    judged; None where it was neither or both, or is unknown.
    """

    verdict: Verdict | None
    reason: str = ""
    confidence: float | None = None
    raw: str | None = None
    forward: Verdict | None = None
    backward: Verdict | None = None
    cost: Cost = Cost()
    caused_by: Side | None = None


def imported_completion_id(prompt: str, text: str) -> str:
    """Id of an imported answer, of which only the text is known. prompt: the prompt's id."""
    return content_id("imported", prompt, text)


def pair_id(first: str, second: str) -> str:
    """Id of the unordered pair of two completion ids.

    Example:
        >>> pair_id("c1", "c2") == pair_id("c2", "c1")
        True
    """
    return content_id("pair", sorted((first, second)))


def order_pair(first: str, second: str) -> tuple[str, str]:
    """(a, b) of two completion ids: the pair's hash, not scores, decides which is shown first."""
    low, high = sorted((first, second))
    return (low, high) if int(pair_id(low, high), 16) & 1 == 0 else (high, low)


def person(annotator: str) -> str:
    """The source of an annotator's judgements.

    Example:
        >>> person("ada"), is_person(person("ada"))
        ('human:ada', True)
    """
    return HUMAN + annotator


def is_person(source: str) -> bool:
    """Whether a source of judgements is a person."""
    return source.startswith(HUMAN)


class JudgementRow(TypedDict):
    """A judge's judgement of a pair; people's have a time in `at`."""

    pair_id: str
    source: str
    verdict: Verdict | None
    confidence: float | None
    reason: str
    raw: str | None
    forward: Verdict | None
    backward: Verdict | None
    tokens_in: int
    tokens_out: int
    money: float
    at: Annotated[datetime | None, VOLATILE]


def judgement_row(pair_id: str, source: str, judgement: Judgement) -> JudgementRow:
    """The row of a judge's judgement."""
    return {
        "pair_id": pair_id,
        "source": source,
        "verdict": judgement.verdict,
        "confidence": judgement.confidence,
        "reason": judgement.reason,
        "raw": judgement.raw,
        "forward": judgement.forward,
        "backward": judgement.backward,
        "tokens_in": judgement.cost.tokens_in,
        "tokens_out": judgement.cost.tokens_out,
        "money": judgement.cost.money,
        "at": None,
    }


class MeasureRow(TypedDict):
    """One of a score's measures."""

    name: str
    numerator: float
    denominator: float


class ScoreRow(TypedDict):
    """A score of a completion."""

    completion_id: str
    source: str
    score: float | None
    reason: str
    measures: list[MeasureRow]
    raw: str | None
    tokens_in: int
    tokens_out: int
    money: float


def score_row(completion_id: str, source: str, score: Score) -> ScoreRow:
    """The row of a score."""
    measures: list[MeasureRow] = [
        {"name": name, "numerator": float(numerator), "denominator": float(denominator)}
        for name, (numerator, denominator) in sorted(score.measures.items())
    ]
    return {
        "completion_id": completion_id,
        "source": source,
        "score": score.value,
        "reason": score.reason,
        "measures": measures,
        "raw": score.raw,
        "tokens_in": score.cost.tokens_in,
        "tokens_out": score.cost.tokens_out,
        "money": score.cost.money,
    }


def score_from_row(row: ScoreRow) -> Score:
    """The score of a row: the inverse of `score_row`."""
    measures = {m["name"]: (m["numerator"], m["denominator"]) for m in row["measures"]}
    cost = Cost(row["tokens_in"], row["tokens_out"], row["money"])
    return Score(row["score"], row["reason"], measures, row["raw"], cost)


class PromptRow(TypedDict):
    """A prompt. extra: JSON."""

    prompt_id: str
    prompt: str | None
    messages: Messages | None
    extra: str
    split: Split


def prompt_row(prompt: Prompt) -> PromptRow:
    """The row of a prompt."""
    return {
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.text,
        "messages": [dict(m) for m in prompt.messages] if prompt.messages is not None else None,
        "extra": json.dumps(dict(prompt.extra), sort_keys=True, ensure_ascii=False, default=str),
        "split": prompt.split,
    }


def prompt_from_row(row: PromptRow) -> Prompt:
    """The prompt of a row: the inverse of `prompt_row`."""
    messages = row["messages"]
    return Prompt(
        prompt_id=row["prompt_id"],
        text=row["prompt"],
        messages=tuple(messages) if messages is not None else None,
        extra=json.loads(row["extra"]),
        split=row["split"],
    )


class LabelRow(TypedDict):
    """A person's answer, with its id in Argilla. record_id: content hash of what was asked. kind:
    pair, gold or repeat. verdict: in terms of the pair's a and b; None: discarded. expected: the
    known verdict of a gold pair. mode: blind or review. why: the pair was chosen."""

    label_id: Annotated[str, VOLATILE]
    record_id: str
    pair_id: str
    kind: str
    annotator: str
    verdict: Verdict | None
    expected: Verdict | None
    strength: Int32 | None
    comment: str | None
    shown_first: Side
    mode: str
    why: str
    at: VolatileTime


class ImportedRow(TypedDict):
    """An imported preference, as texts."""

    pair_id: str
    prompt_id: str
    prompt: str | None
    messages: Messages | None
    chosen: str
    rejected: str
    p_chosen: float
    sources: list[str]
    agreement: float | None
