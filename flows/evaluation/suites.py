"""Regression suites: abilities that the policy must not lose."""

from collections.abc import Iterator, Mapping

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.round_parts import SuiteNumbers
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import mean_by_prompt
from dpo_core.evaluation.intervals import UNKNOWN, finite
from dpo_core.tables import count_rows, read_rows
from flows.config.evaluation import HeldOutConfig
from flows.round_state import EvaluatedPolicy

Key = tuple[str, int]
"""(prompt_id, sample_index)"""


def measure_suites(inputs: Inputs, config: HeldOutConfig) -> dict[str, SuiteNumbers]:
    """suite name → the policy's result."""
    return {
        name: _measure_suite(
            _read_scores(inputs, "candidate", name),
            _read_scores(inputs, "previous", name),
            _read_scores(inputs, "base", name),
            suite.may_fall,
            count_rows(inputs.path(f"candidate_suite_{name}_answers")),
            config,
        )
        for name, suite in config.suites.items()
    }


def suite_warnings(suites: Mapping[str, SuiteNumbers]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each suite that failed."""
    for name, suite in suites.items():
        if suite.failed and suite.score is None:
            yield f"suite {name}", f"Regression suite {name}: its rule could score no answer."
        elif suite.failed:
            low, high = suite.change_low, suite.change_high
            yield (
                f"suite {name}",
                f"Regression suite {name} fell from {suite.before:.3g} to {suite.score:.3g}: "
                f"{suite.change:+.3g} [{low:+.3g}, {high:+.3g}] on {suite.prompts} prompts.",
            )


def _measure_suite(
    ours: Mapping[Key, float],
    previous: Mapping[Key, float],
    base: Mapping[Key, float],
    may_fall: float,
    answers: int,
    config: EvaluationConfig,
) -> SuiteNumbers:
    both = sorted(ours.keys() & previous.keys())
    scores = [(prompt, value) for (prompt, _), value in ours.items()]
    changes = [(key[0], ours[key] - previous[key]) for key in both]
    score, change = (mean_by_prompt(values, config) or UNKNOWN for values in (scores, changes))
    unreadable = bool(previous) and not ours
    return SuiteNumbers(
        prompts=len({prompt for prompt, _ in ours}),
        answers=answers,
        compared=len(both),
        score=finite(score.estimate),
        low=finite(score.low),
        high=finite(score.high),
        before=_average(previous),
        base=_average(base),
        change=finite(change.estimate),
        change_low=finite(change.low),
        change_high=finite(change.high),
        may_fall=may_fall,
        failed=unreadable or change.high < -may_fall,
    )


def _average(scores: Mapping[Key, float]) -> float | None:
    return sum(scores.values()) / len(scores) if scores else None


def _read_scores(inputs: Inputs, who: str, suite: str) -> dict[Key, float]:
    """Scores without abstentions; empty for a policy that did not answer the suite."""
    scores = inputs.find(f"{who}_suite_{suite}")
    if scores is None:
        return {}
    answers = inputs.path(f"{who}_suite_{suite}_answers")
    asked = read_rows(answers, ["completion_id", "prompt_id", "sample_index"])
    key = {row["completion_id"]: (row["prompt_id"], row["sample_index"]) for row in asked}
    rows = read_rows(scores, ["completion_id", "score"])
    return {key[r["completion_id"]]: r["score"] for r in rows if r["score"] is not None}


def suite_inputs(policies: Mapping[str, EvaluatedPolicy]) -> dict[str, Input]:
    """Each policy's suite scores and answers."""
    inputs = {}
    for who, policy in policies.items():
        for name, suite in policy.suites.items():
            inputs[f"{who}_suite_{name}"] = suite.scores.input("scores.parquet")
            inputs[f"{who}_suite_{name}_answers"] = suite.answers.input("completions.parquet")
    return inputs
