"""Regression suites: what a policy could do and must go on doing."""

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
    """name → how the policy does in the suite.

    prompts: how many have an answer that the rule scored. answers: how many there are in all,
    `compared`: those that were scored, as was the last promoted policy's. score: mean over what was
    scored, with its interval; `before` and `base`: the mean scores of the last promoted policy and
    the base.
    change: mean over prompts of what the score gained since the last promoted policy, answer by
    answer (same prompt, same seed), with its interval by resampling prompts.

    failed: the whole interval of the change lies below −may_fall, so the suite fell by more than
    it may, beyond what prompts alone explain at `evaluation.confidence`. A suite whose answers fall
    alike has an interval without width and fails however few its prompts are. It fails, too, where
    the rule could score some of the previous policy's answers and none of the new ones.
    """
    return {
        name: _suite(
            _scores(inputs, "candidate", name),
            _scores(inputs, "previous", name),
            _scores(inputs, "base", name),
            suite.may_fall,
            count_rows(inputs.path(f"candidate_suite_{name}_answers")),
            config,
        )
        for name, suite in config.suites.items()
    }


def suite_warnings(suites: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each suite that failed."""
    for name, found in measure_suites.items():
        if found["failed"] and found["score"] is None:
            yield f"suite {name}", f"Regression suite {name}: its rule could score no answer."
        elif found["failed"]:
            low, high = found["change_low"], found["change_high"]
            yield (
                f"suite {name}",
                f"Regression suite {name} fell from {found['before']:.3g} to {found['score']:.3g}: "
                f"{found['change']:+.3g} [{low:+.3g}, {high:+.3g}] on {found['prompts']} prompts.",
            )


def _suite(
    ours: Mapping[Key, float],
    previous: Mapping[Key, float],
    base: Mapping[Key, float],
    may_fall: float,
    answers: int,
    config: EvaluationConfig,
) -> dict[str, Any]:
    both = sorted(ours.keys() & previous.keys())
    score = mean_by_prompt([(prompt, one) for (prompt, _), one in ours.items()], config)
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


def _scores(inputs: Inputs, who: str, suite: str) -> dict[Key, float]:
    """Of the answers that the rule did not abstain on; none of a policy that was not asked."""
    scores = inputs.find(f"{who}_suite_{suite}")
    if scores is None:
        return {}
    answers = inputs.path(f"{who}_suite_{suite}_answers")
    asked = read_rows(answers, ["completion_id", "prompt_id", "sample_index"])
    key = {row["completion_id"]: (row["prompt_id"], row["sample_index"]) for row in asked}
    rows = read_rows(scores, ["completion_id", "score"])
    return {key[r["completion_id"]]: r["score"] for r in rows if r["score"] is not None}


def suite_inputs(answered: Mapping[str, EvaluatedPolicy]) -> dict[str, Input]:
    """Everybody's answers and scores, for what is made of them."""
    found = {}
    for who, one in answered.items():
        for name, suite in one.suites.items():
            found[f"{who}_suite_{name}"] = suite.scores.input("scores.parquet")
            found[f"{who}_suite_{name}_answers"] = suite.answers.input("completions.parquet")
    return found
