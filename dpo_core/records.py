"""The records that travel between the steps of a round, and their parquet schemas.

Words and columns are those of a campaign on disk: a *pair* is two completions of one prompt, a
*judgement* is one source's verdict on a pair, a *preference* is what its judgements aggregate to.
Importing this module loads neither torch nor a model library.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dpo_core.hashing import content_id, normalise, text_id

Split = Literal["train", "gate", "test"]
Verdict = Literal["a", "b", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = ("a", "b", "tie", "both_bad")
Side = Literal["a", "b"]
OTHER_SIDE: Mapping[Side, Side] = {"a": "b", "b": "a"}


HUMAN = "human:"
"""What the source of a person's answers begins with; the annotator's name follows."""


@dataclass(frozen=True)
class Prompt:
    """One prompt: plain `text`, or chat `messages` of {"role", "content"}; never both.

    `extra` holds the other fields of the prompt's row (a reference answer, tags) for judges.
    """

    prompt_id: str
    text: str | None = None
    messages: tuple[Mapping[str, str], ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    split: Split = "train"

    def shown(self) -> str:
        """The prompt as people read it: the text, or the messages one below the other."""
        if self.text is not None:
            return self.text
        return "\n".join(f"{m['role']}: {m['content']}" for m in self.messages or ())


def prompt_tags(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a prompt's row says about its kind, in a field `tags`: a list of texts, or one."""
    found = row.get("tags") or ()
    return tuple(map(str, found if isinstance(found, list | tuple) else [found]))


def prompt_id(text: str | None, messages: tuple[Mapping[str, str], ...] | None) -> str:
    """Hash of the normalised prompt: prompts that differ in case or spacing are one prompt."""
    if text is not None:
        return text_id("prompt", normalise(text))
    return content_id("messages", [[m["role"], normalise(m["content"])] for m in messages or ()])


@dataclass(frozen=True)
class Completion:
    """One sampled answer as a judge sees it; `tokens` counts its tokens, EOS included."""

    completion_id: str
    prompt: Prompt
    text: str
    finish_reason: str
    tokens: int
    sample_index: int = 0

    @property
    def finished(self) -> bool:
        """Whether the policy ended the answer itself (and was not cut at the length limit)."""
        return self.finish_reason == "stop"

    @property
    def is_empty(self) -> bool:
        """Whether it shows nothing: no character but spaces, controls and invisible ones."""
        return not any(c.isprintable() and not c.isspace() for c in self.text)


@dataclass(frozen=True)
class Pair:
    """Two completions of one prompt in the order in which a judge reads them."""

    pair_id: str
    a: Completion
    b: Completion

    def swapped(self) -> "Pair":
        return Pair(self.pair_id, self.b, self.a)


@dataclass(frozen=True)
class Cost:
    """What judgements took: tokens read and written, money in the unit of the config's prices."""

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
    """A pointwise judgement of one completion; `value` None is an abstention, with its reason.

    A value is finite: what else is given for one becomes an abstention, for NaN and infinity would
    lose every comparison, or win it, for no reason of the judge's.

    `measures` are task-specific shares reported over rounds: name → (numerator, denominator),
    summed over completions (right annotations of all annotations, say). `raw` is what a model
    replied.
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
    except (TypeError, ValueError, OverflowError):  # user code makes scores too
        return False


@dataclass(frozen=True)
class Judgement:
    """One source's verdict on one pair; `verdict` None is an abstention, with its reason.

    confidence: probability, in the source's own opinion, that the verdict is right.
    forward, backward: the verdicts with a read first and with b read first, both in terms of a and
    b, where a source read both orders.
    caused_by: of an abstention, whose answer alone it was that could not be judged; None: neither's
    or both's, or not known.
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
    """Id of an answer of which only the text is known; `prompt` is the prompt's id."""
    return content_id("imported", prompt, text)


def pair_id(first: str, second: str) -> str:
    """Id of the unordered pair of two completion ids."""
    return content_id("pair", sorted((first, second)))


def order_pair(first: str, second: str) -> tuple[str, str]:
    """(a, b): which completion is shown first, decided by the pair's hash, not by its scores."""
    low, high = sorted((first, second))
    return (low, high) if int(pair_id(low, high), 16) & 1 == 0 else (high, low)


def person(annotator: str) -> str:
    """The source of what `annotator` answers."""
    return HUMAN + annotator


def is_person(source: str) -> bool:
    return source.startswith(HUMAN)


def judgement_row(pair_id: str, source: str, judgement: Judgement) -> dict[str, Any]:
    """The row of JUDGEMENTS that holds a judgement of a source that can be asked again."""
    return {
        "pair_id": pair_id,
        "source": source,
        "verdict": judgement.verdict,
        "confidence": judgement.confidence,
        "reason": judgement.reason,
        "raw": judgement.raw,
        "forward": judgement.forward,
        "backward": judgement.backward,
        **asdict(judgement.cost),
        "at": None,
    }


def score_row(completion_id: str, source: str, score: Score) -> dict[str, Any]:
    """The row of SCORES that holds a score."""
    measures = [
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
        **asdict(score.cost),
    }


def score_from_row(row: Mapping[str, Any]) -> Score:
    """The inverse of `score_row`."""
    measures = {m["name"]: (m["numerator"], m["denominator"]) for m in row["measures"]}
    cost = Cost(row["tokens_in"], row["tokens_out"], row["money"])
    return Score(row["score"], row["reason"], measures, row["raw"], cost)


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    """The row of PROMPTS that holds `prompt`."""
    return {
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.text,
        "messages": [dict(m) for m in prompt.messages] if prompt.messages is not None else None,
        "extra": json.dumps(dict(prompt.extra), sort_keys=True, ensure_ascii=False, default=str),
        "split": prompt.split,
    }


def prompt_from_row(row: Mapping[str, Any]) -> Prompt:
    """The inverse of `prompt_row`."""
    messages = row["messages"]
    return Prompt(
        prompt_id=row["prompt_id"],
        text=row["prompt"],
        messages=tuple(messages) if messages is not None else None,
        extra=json.loads(row["extra"]),
        split=row["split"],
    )
