"""What the training judge makes of held-out answers, and whether others part from it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dpo_core.campaign.store import Artifact
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.over_optimisation import Agreed, Risen, judges_part, people_part
from dpo_core.evaluation.statistics import mean_interval, win_rate
from flows.evaluation.held_out import HeldOutAnswers
from flows.policy import Played, Preferred

_WHOSE = {"previous": "the previous policy's", "base": "the base's"}
Key = tuple[str, int]
"""(prompt_id, sample_index)"""


def training_scores(
    ours: HeldOutAnswers, base: HeldOutAnswers, config: EvaluationConfig
) -> dict[str, Any]:
    """training_score_mean of test answers with its interval, and the base's; None for a judge that
    gives no scores."""
    name = "training_score_mean"
    numbers = {f"{name}{end}": None for end in ("", "_low", "_high", "_base")}
    scores, of_base = _scores(ours), _scores(base)
    if not scores:
        return numbers
    found = _mean(scores, config)
    ends = {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
    mean_of_base = sum(of_base.values()) / len(of_base) if of_base else None
    return {**numbers, **ends, f"{name}_base": mean_of_base}


def over_optimisation(
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    numbers: Mapping[str, Any],
    agreed: Sequence[Agreed],
    config: EvaluationConfig,
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each way in which others part from the training judge."""
    if ours.training_scores is ours.scores and not agreed:
        return  # there is nobody else
    risen = {name: found for name, o in others.items() if (found := _risen(ours, o, config))}
    apart = (
        judges_part(_WHOSE[name], found, _interval(numbers, f"win_rate_{name}"))
        for name, found in risen.items()
    )
    said = next((sentence for sentence in apart if sentence), None)
    if said:
        yield "over-optimisation", said
    if "base" in risen and (said := people_part(risen["base"], agreed, config.confidence)):
        yield "over-optimisation, by people", said


def agreed_with_people(now: Preferred, earlier: Sequence[Played]) -> list[Agreed]:
    """Round by round how often people and the judges of training said the same."""
    made = [played.made.get("preferences") for played in earlier] + [now.preferences]
    return [found for preferences in made if preferences and (found := _agreed(preferences))]


def _agreed(preferences: Artifact) -> Agreed | None:
    kappas = preferences.entry.facts.get("agreement", {}).get("kappa", {}).values()
    pairs = sum(found["n"] for found in kappas)
    if not pairs:
        return None
    same = sum(found["agree"] * found["n"] for found in kappas)
    return Agreed(preferences.entry.round, same / pairs, pairs)


def _risen(ours: HeldOutAnswers, other: HeldOutAnswers, config: EvaluationConfig) -> Risen | None:
    scores, theirs = _scores(ours), _scores(other)
    gained = {key: score - theirs[key] for key, score in scores.items() if key in theirs}
    if not gained:
        return None
    won = win_rate(
        [0.5 if gain == 0 else float(gain > 0) for gain in gained.values()],
        groups=[prompt for prompt, _ in gained],
        confidence=config.confidence,
        resamples=config.bootstrap_resamples,
    )
    return Risen(_mean(gained, config), won)


def _mean(values: Mapping[Key, float], config: EvaluationConfig) -> Interval:
    return mean_interval(
        list(values.values()),
        groups=[prompt for prompt, _ in values],
        confidence=config.confidence,
        resamples=config.bootstrap_resamples,
    )


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
