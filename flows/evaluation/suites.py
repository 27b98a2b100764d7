"""Regression suites: abilities that the policy must not lose."""

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import mean_by_prompt
from dpo_core.tables import count_rows, read_rows
from flows.config.evaluation import HeldOutConfig
from flows.round_state import EvaluatedPolicy

Key = tuple[str, int]
"""(prompt_id, sample_index)"""


def measure_suites(inputs: Inputs, config: HeldOutConfig) -> dict[str, Any]:
    """suite name → the policy's results.

    prompts: with a scored answer. answers: all of them; `compared`: scored for both the policy and
    the incumbent. score: mean with its interval; `before`, `base`: means of incumbent and base.
    change: mean gain over the incumbent, paired by prompt and seed, with its interval by resampling
    prompts.

    failed: the whole interval of the change lies below −may_fall. If all answers fall equally the
    interval has no width, and the suite fails however few its prompts are. It also fails if the
    rule scored some of the incumbent's answers and none of the new ones.
    """
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


def suite_warnings(suites: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each suite that failed."""
    for name, found in suites.items():
        if found["failed"] and found["score"] is None:
            yield f"suite {name}", f"Regression suite {name}: its rule could score no answer."
        elif found["failed"]:
            low, high = found["change_low"], found["change_high"]
            yield (
                f"suite {name}",
                f"Regression suite {name} fell from {found['before']:.3g} to {found['score']:.3g}: "
                f"{found['change']:+.3g} [{low:+.3g}, {high:+.3g}] on {found['prompts']} prompts.",
            )


def _measure_suite(
    ours: Mapping[Key, float],
    previous: Mapping[Key, float],
    base: Mapping[Key, float],
    may_fall: float,
    answers: int,
    config: EvaluationConfig,
) -> dict[str, Any]:
    both = sorted(ours.keys() & previous.keys())
    score = mean_by_prompt([(prompt, value) for (prompt, _), value in ours.items()], config)
    change = mean_by_prompt([(key[0], ours[key] - previous[key]) for key in both], config)
    unreadable = bool(previous) and not ours
    return {
        "prompts": len({prompt for prompt, _ in ours}),
        "answers": answers,
        "compared": len(both),
        "score": score and score.estimate,
        "low": score and score.low,
        "high": score and score.high,
        "before": _average(previous),
        "base": _average(base),
        "change": change and change.estimate,
        "change_low": change and change.low,
        "change_high": change and change.high,
        "may_fall": may_fall,
        "failed": unreadable or (change is not None and change.high < -may_fall),
    }


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
