"""Prompts that a policy answers worse than an earlier round did."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from dpo_core.evaluation.ratings import by_name


@dataclass(frozen=True)
class Worse:
    """A prompt and the earlier round whose answers to it were better by the most.

    outcome: mean outcome of the policy's answers against that round's, below ½. answers: how many
    were compared.
    """

    prompt_id: str
    better_in: Hashable
    outcome: float
    answers: int


@dataclass(frozen=True)
class ForgottenPrompts:
    """worse: such prompts, worst first. gained: prompts answered better than in every round that
    they were compared with. compared: all prompts."""

    worse: tuple[Worse, ...]
    gained: int
    compared: int


def find_forgotten(outcomes: Iterable[tuple[str, Hashable, float]]) -> ForgottenPrompts:
    """What got worse since any earlier round, from (prompt_id, earlier round, outcome) rows.

    outcome: 1 where the policy's answer is better than that round's, 0.5 where they are alike, 0
    where it is worse; of answers with scores, how the two scores compare. A prompt is worse when
    its mean outcome against one of the rounds lies below ½.

    With few answers a prompt looks worse by chance as often as better: of two policies that are
    equally good, `worse` has as many as `gained`, and more when there are several earlier rounds.
    Raises ValueError for outcomes outside [0, 1].
    """
    by_prompt: dict[str, dict[Hashable, list[float]]] = defaultdict(lambda: defaultdict(list))
    for prompt_id, earlier, outcome in outcomes:
        if not 0 <= outcome <= 1:
            raise ValueError(f"outcomes must lie in [0, 1], not {outcome}")
        by_prompt[prompt_id][earlier].append(outcome)
    worse, gained = [], 0
    for prompt_id, by_round in by_prompt.items():
        means = {r: sum(by_round[r]) / len(by_round[r]) for r in by_name(by_round)}
        better_in = min(means, key=lambda earlier: means[earlier])
        if means[better_in] < 0.5:
            answers = len(by_round[better_in])
            worse.append(Worse(prompt_id, better_in, means[better_in], answers))
        gained += means[better_in] > 0.5
    worse.sort(key=lambda one: (one.outcome, -one.answers, one.prompt_id))
    return ForgottenPrompts(tuple(worse), gained, len(by_prompt))
