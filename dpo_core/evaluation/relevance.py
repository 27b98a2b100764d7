"""Does an answer belong to its request? The base model is asked, and no judge.

An answer is relevant when the base gives it a higher log-prob after its own request than after any
of a few others, and when it is mostly in words of its own: a copy of the request would be placed
with certainty, and a form that is filled in for everybody by the one word that it takes from it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Literal

from dpo_core.evaluation.texts import ngrams

RUN = 4
"""Tokens in a row that are looked for elsewhere, as `repetition` does."""
MOST_ECHOED = 0.5
"""Share of an answer's runs that may stand in its prompt, earlier in it, or in many answers."""
MANY = 0.05
"""Share of the prompts, and never fewer than three, in answers to which a run is a part of a form:
one alone may well have the same answer several times."""

Verdict = Literal["relevant", "another request", "echo", "empty", "alone"]


@dataclass(frozen=True)
class AnswerPlacement:
    """An answer, and its log-probs under the base after each request, its own first, in nats.

    Without a request there are none: nobody was asked about an empty answer.
    """

    prompt_id: str
    prompt: Sequence[int]
    tokens: Sequence[int]
    finished: bool
    empty: bool
    logps: Sequence[float]


def draw_others(own: str, prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of the prompts other than `own`, or all where there are fewer.

    The same ones for the same prompts and seed, in whatever order they come.
    """
    others = sorted(set(prompts) - {own})
    return Random(seed).sample(others, min(count, len(others)))


def verdicts(answers: Sequence[AnswerPlacement]) -> list[Verdict]:
    """What becomes of each answer of one policy; "alone": there was no other request to tell from.

    An answer that two requests explain equally well belongs to neither.
    """
    return [
        _verdict(answer, share) for answer, share in zip(answers, echo_shares(answers), strict=True)
    ]


def _verdict(answer: AnswerPlacement, share: float) -> Verdict:
    if answer.empty:
        return "empty"
    own, *others = answer.logps
    if not others:
        return "alone"
    if share > MOST_ECHOED:
        return "echo"
    return "relevant" if own > max(others) else "another request"


def echo_shares(answers: Sequence[AnswerPlacement]) -> list[float]:
    """Of each answer the share of its runs of RUN tokens that stand in its prompt, earlier in it,
    or in answers to MANY of the prompts; 0 for an answer of fewer tokens."""
    said: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for answer in answers:
        said[answer.prompt_id].update(ngrams(answer.tokens, RUN))
    known = Counter(run for runs in said.values() for run in runs)
    many = max(3, MANY * len(said))
    form = {run for run, count in known.items() if count >= many}
    return [_share(list(_echoes(answer, form))) for answer in answers]


def _echoes(answer: AnswerPlacement, form: Set[tuple[int, ...]]) -> Iterator[bool]:
    seen = set(ngrams(answer.prompt, RUN))
    for run in ngrams(answer.tokens, RUN):
        yield run in seen or run in form
        seen.add(run)


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 0.0
