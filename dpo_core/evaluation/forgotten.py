"""Forgotten prompts: those that a policy answers worse than an earlier round did."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from dpo_core.evaluation.ratings import by_name


@dataclass(frozen=True)
class ForgottenPrompt:
    """A prompt, and the earlier round whose answers to it were better by the widest margin.

    outcome: mean outcome of the policy's answers against that round's, below ½. answers: number of
    answers compared.
    """

    prompt_id: str
    better_in: Hashable
    outcome: float
    answers: int


@dataclass(frozen=True)
class ForgottenPrompts:
    """worse: forgotten prompts, worst first. compared: number of prompts compared.

    gained: number of prompts answered better than in every earlier round.
    """

    worse: tuple[ForgottenPrompt, ...]
    gained: int
    compared: int


def find_forgotten(outcomes: Iterable[tuple[str, Hashable, float]]) -> ForgottenPrompts:
    """Find prompts whose mean outcome against an earlier round lies below ½.

    With few answers a prompt looks worse by chance as often as better: for two equally good
    policies, `worse` has as many prompts as `gained`, and more with several earlier rounds.

    Args:
        outcomes: (prompt_id, earlier round, outcome). An outcome is 1 where the policy's answer is
            better than that round's, 0.5 for a tie, 0 where it is worse.

    Returns:
        ForgottenPrompts.

    Raises:
        ValueError: an outcome lies outside [0, 1].

    Example:
        >>> find_forgotten([("p", 1, 0.0), ("q", 1, 1.0)]).worse
        (ForgottenPrompt(prompt_id='p', better_in=1, outcome=0.0, answers=1),)
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
            worse.append(ForgottenPrompt(prompt_id, better_in, means[better_in], answers))
        gained += means[better_in] > 0.5
    worse.sort(key=lambda prompt: (prompt.outcome, -prompt.answers, prompt.prompt_id))
    return ForgottenPrompts(tuple(worse), gained, len(by_prompt))
