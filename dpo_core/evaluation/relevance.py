"""Relevance: whether an answer belongs to its request, by the base model's log-probs.

An answer is relevant when the base gives it a higher log-prob after its own request than after any
of a few others, and when it is mostly in its own words. A copy of the request would always be
matched to it, and so would a boilerplate answer that repeats one word of the request.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from random import Random
from typing import Literal

from dpo_core.evaluation.texts import ngrams

RUN = 4
"""Tokens of a run that is searched for elsewhere, as in `repetition`."""
MOST_ECHOED = 0.5
"""Most of an answer's runs, as a share, that may occur in its prompt, earlier in it, or in many
answers."""
MANY = 0.05
"""A run that occurs in answers to this share of the prompts, and to at least three, is boilerplate.
Answers to a single prompt may well repeat each other."""

Verdict = Literal["relevant", "another request", "echo", "empty", "alone"]


@dataclass(frozen=True)
class AnswerPlacement:
    """An answer with its log-probs under the base after each request.

    logps: nats, its own request first; none for an empty answer.
    """

    prompt_id: str
    prompt: Sequence[int]
    tokens: Sequence[int]
    finished: bool
    empty: bool
    logps: Sequence[float]


def draw_others(own: str, prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw `count` of the prompts other than `own`, or all where there are fewer.

    The draw depends on the set of prompts and the seed, not on the order of the prompts.
    """
    others = sorted(set(prompts) - {own})
    return Random(seed).sample(others, min(count, len(others)))


def verdicts(answers: Sequence[AnswerPlacement]) -> list[Verdict]:
    """The verdict on each answer of one policy.

    "alone": there was no other request to compare with. An answer that two requests explain equally
    well counts as "another request".
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
    """Share of each answer's runs of RUN tokens that it copies.

    A run is copied when it occurs in the prompt, earlier in the answer, or in answers to MANY of
    the prompts. 0 for an answer of fewer than RUN tokens.
    """
    by_prompt: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for answer in answers:
        by_prompt[answer.prompt_id].update(ngrams(answer.tokens, RUN))
    prompts_with = Counter(run for runs in by_prompt.values() for run in runs)
    many = max(3, MANY * len(by_prompt))
    boilerplate = {run for run, count in prompts_with.items() if count >= many}
    return [_share(list(_copied(answer, boilerplate))) for answer in answers]


def _copied(answer: AnswerPlacement, boilerplate: Set[tuple[int, ...]]) -> Iterator[bool]:
    seen = set(ngrams(answer.prompt, RUN))
    for run in ngrams(answer.tokens, RUN):
        yield run in seen or run in boilerplate
        seen.add(run)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
