"""What the training judge makes of held-out answers, and whether others part from it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpo_core.campaign.artifacts import Artifact
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import ByPrompt, mean_by_prompt, win_rate_by_prompt
from dpo_core.evaluation.intervals import Interval, columns
from dpo_core.evaluation.over_optimisation import (
    JudgeAgreement,
    TrainingScoreGain,
    falling_agreement_message,
    judge_disagreement_message,
)
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.judging import judges_alike, outcomes, play_all, training_judge_compares_too
from flows.policy import RoundPreferences, RoundRecord
from flows.session import Session

TRAINING_OUTCOMES_FILE = "training_outcomes.parquet"

_WHOSE = {"previous": "the previous policy's", "base": "the base's"}
Key = tuple[str, int]
"""(prompt_id, sample_index)"""


def training_scores(
    ours: HeldOutAnswers, base: HeldOutAnswers, config: EvaluationConfig
) -> dict[str, Any]:
    """training_score_mean of test answers with its interval, and the base's; None for a judge that
    gives no scores."""
    name, scores, of_base = "training_score_mean", _scores(ours), _scores(base)
    numbers = columns(name, mean_by_prompt(_by_prompt(scores), config))
    mean_of_base = sum(of_base.values()) / len(of_base) if scores and of_base else None
    return {**numbers, f"{name}_base": mean_of_base}


def training_outcomes(
    session: Session, ours: HeldOutAnswers, others: Mapping[str, HeldOutAnswers]
) -> list[dict[str, Any]]:
    """Rows of OUTCOMES by a training judge that reads pairs and is not the evaluation judge, on a
    few test prompts; none of any other."""
    config = session.config
    if not training_judge_compares_too(config):
        return []
    few = ours.few(config.evaluation.training_judge_prompts)
    return list(outcomes(play_all(session, config.judge, few, others)))


def training_win_rates(
    config: CampaignConfig,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    compared: Sequence[Mapping[str, Any]],
    evaluated: Mapping[str, Any],
) -> dict[str, Any]:
    """training_win_rate_<other>: how often the training judge prefers the policy's test answers.

    By its scores, or where it reads pairs by what it `compared` (rows of OUTCOMES). Of a judge that
    evaluates as well they are the win rates `evaluated`.
    """
    numbers: dict[str, Any] = {}
    for name, other in others.items():
        found = _interval(evaluated, f"win_rate_{name}")
        if not judges_alike(config):
            won = _read(compared, name) or _scored_higher(_gained(ours, other))
            found = win_rate_by_prompt(_by_prompt(won), config.evaluation)
        numbers |= columns(f"training_win_rate_{name}", found)
    return numbers


def over_optimisation(
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    numbers: Mapping[str, Any],
    agreed: Sequence[JudgeAgreement],
    config: EvaluationConfig,
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each way in which others part from the training judge."""
    risen = {
        name: TrainingScoreGain(mean_by_prompt(_by_prompt(_gained(ours, other)), config), won)
        for name, other in others.items()
        if (won := _interval(numbers, f"training_win_rate_{name}"))
    }
    apart = (
        judge_disagreement_message(_WHOSE[name], found, _interval(numbers, f"win_rate_{name}"))
        for name, found in risen.items()
    )
    said = next((sentence for sentence in apart if sentence), None)
    if said:
        yield "over-optimisation", said
    if "base" in risen and (
        said := falling_agreement_message(risen["base"], agreed, config.confidence)
    ):
        yield "over-optimisation, by people", said


def agreed_with_people(
    now: RoundPreferences, earlier: Sequence[RoundRecord]
) -> list[JudgeAgreement]:
    """Round by round how often people and the judges of training said the same."""
    made = [played.made.get("preferences") for played in earlier] + [now.preferences]
    return [found for preferences in made if preferences and (found := _agreed(preferences))]


def _agreed(preferences: Artifact) -> JudgeAgreement | None:
    kappas = preferences.entry.facts.get("agreement", {}).get("kappa", {}).values()
    pairs = sum(found["n"] for found in kappas)
    if not pairs:
        return None
    same = sum(found["agree"] * found["n"] for found in kappas)
    # Judges of a committee are compared with people on the same pairs: these count once.
    return JudgeAgreement(
        preferences.entry.round, same / pairs, max(found["n"] for found in kappas)
    )


def _gained(ours: HeldOutAnswers, other: HeldOutAnswers) -> dict[Key, float]:
    """By how much the training judge scores test answers higher."""
    scores, theirs = _scores(ours), _scores(other)
    return {key: score - theirs[key] for key, score in scores.items() if key in theirs}


def _scored_higher(gained: Mapping[Key, float]) -> dict[Key, float]:
    return {key: 0.5 if gain == 0 else float(gain > 0) for key, gain in gained.items()}


def _read(compared: Sequence[Mapping[str, Any]], opponent: str) -> dict[Key, float]:
    """The decided outcomes against an opponent."""
    return {
        (row["prompt_id"], row["sample_index"]): row["outcome"]
        for row in compared
        if row["opponent"] == opponent and row["outcome"] is not None
    }


def _by_prompt(values: Mapping[Key, float]) -> ByPrompt:
    return [(prompt, value) for (prompt, _), value in values.items()]


def _scores(answers: HeldOutAnswers) -> dict[Key, float]:
    """Of test answers, by the first training judge that scores; without abstentions."""
    scores = next(iter(answers.training_scores.values()), {})
    return {
        (c.prompt.prompt_id, c.sample_index): score.value
        for c in answers.test()
        if (score := scores.get(c.completion_id)) is not None and score.value is not None
    }


def _interval(numbers: Mapping[str, Any], name: str) -> Interval | None:
    found = [numbers[f"{name}{end}"] for end in ("", "_low", "_high")]
    return None if None in found else Interval(*found)
