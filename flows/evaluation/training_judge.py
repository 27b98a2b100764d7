"""The training judge on held-out answers, and whether evaluation or people disagree with it."""

from collections.abc import Iterator, Mapping, Sequence

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import ByPrompt, mean_by_prompt, win_rate_by_prompt
from dpo_core.evaluation.intervals import Interval, columns
from dpo_core.evaluation.over_optimisation import (
    JudgeAgreement,
    TrainingScoreGain,
    falling_agreement_message,
    judge_disagreement_message,
)
from dpo_core.schemas import OutcomeRow
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import HeldOutAnswers
from flows.evaluation.judging import (
    compares_with_training_judge,
    has_same_judges,
    iterate_outcomes,
    play_matches,
)
from flows.round_state import RoundPreferences, RoundRecord
from flows.session import Session
from labeling.step_facts import PreferencesFacts

TRAINING_OUTCOMES_FILE = "training_outcomes.parquet"

_WHOSE = {"previous": "the previous policy's", "base": "the base's"}
Key = tuple[str, int]
"""(prompt_id, sample_index)"""


def measure_training_scores(
    ours: HeldOutAnswers, base: HeldOutAnswers, config: EvaluationConfig
) -> dict[str, float | None]:
    """training_score_mean of test answers with interval, and the base's; None without scores."""
    name, scores, of_base = "training_score_mean", _scores(ours), _scores(base)
    numbers = columns(name, mean_by_prompt(_by_prompt(scores), config))
    mean_of_base = sum(of_base.values()) / len(of_base) if scores and of_base else None
    return {**numbers, f"{name}_base": mean_of_base}


def compare_by_training_judge(
    session: Session, ours: HeldOutAnswers, others: Mapping[str, HeldOutAnswers]
) -> list[OutcomeRow]:
    """Outcomes by a training judge that reads pairs and does not evaluate, on a few test
    prompts; empty for any other."""
    config = session.config
    if not compares_with_training_judge(config):
        return []
    few = ours.few(config.evaluation.training_judge_prompts)
    return list(iterate_outcomes(play_matches(session, config.judge, few, others)))


def measure_training_win_rates(
    config: CampaignConfig,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    compared: Sequence[OutcomeRow],
    evaluated: Mapping[str, float | None],
) -> dict[str, float | None]:
    """training_win_rate_<opponent>: how often the training judge prefers the policy's answers.

    From its scores, or from `compared` if it reads pairs. For a judge that evaluates as well they
    are the win rates in `evaluated`.
    """
    numbers: dict[str, float | None] = {}
    for name, other in others.items():
        rate = _known(*(evaluated[f"win_rate_{name}{end}"] for end in ("", "_low", "_high")))
        if not has_same_judges(config):
            outcomes = _find_outcomes(compared, name) or _score_outcomes(_gains(ours, other))
            rate = win_rate_by_prompt(_by_prompt(outcomes), config.evaluation)
        numbers |= columns(f"training_win_rate_{name}", rate)
    return numbers


def over_optimisation_warnings(
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    numbers: RoundMetrics,
    agreed: Sequence[JudgeAgreement],
    config: EvaluationConfig,
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each sign that the policy exploits the training judge."""
    gains = {
        name: TrainingScoreGain(mean_by_prompt(_by_prompt(_gains(ours, other)), config), rate)
        for name, other in others.items()
        if (rate := _known(*numbers.interval(f"training_win_rate_{name}")))
    }
    apart = (
        judge_disagreement_message(
            _WHOSE[name], gain, _known(*numbers.interval(f"win_rate_{name}"))
        )
        for name, gain in gains.items()
    )
    sentence = next(filter(None, apart), None)
    if sentence:
        yield "over-optimisation", sentence
    message = falling_agreement_message
    if "base" in gains and (sentence := message(gains["base"], agreed, config.confidence)):
        yield "over-optimisation, by people", sentence


def measure_agreement_with_people(
    now: RoundPreferences, earlier: Sequence[RoundRecord]
) -> list[JudgeAgreement]:
    """Round by round, how often people and the training judges agreed."""
    rounds = [record.steps.get("preferences") for record in earlier] + [now.preferences]
    return [rate for preferences in rounds if preferences and (rate := _agreement(preferences))]


def _agreement(preferences: Artifact) -> JudgeAgreement | None:
    agreement = preferences.facts(PreferencesFacts).agreement
    kappas = agreement.kappa.values() if agreement is not None else ()
    pairs = sum(kappa.n for kappa in kappas)
    if not pairs:
        return None
    same = sum((kappa.agree or 0.0) * kappa.n for kappa in kappas)
    # Members of a committee are compared with people on the same pairs, which count once.
    return JudgeAgreement(preferences.entry.round, same / pairs, max(k.n for k in kappas))


def _gains(ours: HeldOutAnswers, other: HeldOutAnswers) -> dict[Key, float]:
    """Gain of the training judge's score, per test answer."""
    scores, theirs = _scores(ours), _scores(other)
    return {key: score - theirs[key] for key, score in scores.items() if key in theirs}


def _score_outcomes(gains: Mapping[Key, float]) -> dict[Key, float]:
    return {key: 0.5 if gain == 0 else float(gain > 0) for key, gain in gains.items()}


def _find_outcomes(compared: Sequence[OutcomeRow], opponent: str) -> dict[Key, float]:
    """The decided outcomes against an opponent."""
    return {
        (row["prompt_id"], row["sample_index"]): outcome
        for row in compared
        if row["opponent"] == opponent and (outcome := row["outcome"]) is not None
    }


def _by_prompt(values: Mapping[Key, float]) -> ByPrompt:
    return [(prompt, value) for (prompt, _), value in values.items()]


def _scores(answers: HeldOutAnswers) -> dict[Key, float]:
    """Test answers' scores by the first training judge that scores, without abstentions."""
    scores = next(iter(answers.training_scores.values()), {})
    return {
        (c.prompt.prompt_id, c.sample_index): score.value
        for c in answers.test()
        if (score := scores.get(c.completion_id)) is not None and score.value is not None
    }


def _known(*bounds: float | None) -> Interval | None:
    """The interval of these bounds; None where one is unknown."""
    known = [bound for bound in bounds if bound is not None]
    return Interval(*known) if len(known) == len(bounds) else None
