"""Step `evaluation`: is the candidate better than the incumbent and the base, and how far from them
is it? All comparisons are paired by held-out prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.evaluation.slices import Slice
from dpo_core.schemas import OUTCOMES
from dpo_core.tables import write_rows
from flows.config import CampaignConfig
from flows.evaluation.distances import measure_distances
from flows.evaluation.earlier_rounds import (
    MATCHES_FILE,
    Matches,
    certain_cycles,
    choose_earlier_opponents,
    cycle_warnings,
    find_earlier_matches,
    find_forgotten_prompts,
    rate_policies,
    write_matches,
)
from flows.evaluation.held_out import (
    Answers,
    HeldOutAnswers,
    Opponents,
    measure_overlap,
    read_answers,
)
from flows.evaluation.judging import (
    compares_with_training_judge,
    has_same_judges,
    iterate_outcomes,
    judge_model_inputs,
    measure_judges,
    play_match,
    play_matches,
    shared_judge_warning,
    unjudged_loses,
)
from flows.evaluation.relevance import measure_relevance, relevance_inputs, relevance_warnings
from flows.evaluation.suites import measure_suites, suite_inputs, suite_warnings
from flows.evaluation.training_judge import (
    TRAINING_OUTCOMES_FILE,
    compare_by_training_judge,
    measure_agreement_with_people,
    measure_training_scores,
    measure_training_win_rates,
    over_optimisation_warnings,
)
from flows.evaluation.win_rates import (
    Rows,
    count_decided,
    measure_slices,
    measure_win_rates,
    slice_warnings,
)
from flows.evaluation.writing import compare_styles, measure_writing
from flows.round_state import EvaluatedPolicy, RoundPreferences, RoundRecord, parquet_inputs
from flows.session import Session
from labeling.judges.config import AnyJudgeConfig
from labeling.judges.make import judge_config, judges_functions
from labeling.step_facts import EvaluationFacts

_NOT_AS_WRITTEN = {"suites", "training_judge_prompts", "relevance"}
"""Keys of the section that other parts of the recipe cover."""


@dataclass(frozen=True)
class RoundEvaluation:
    """A round's candidate with all that it is compared with.

    logps: of its answers under the other policies. own: the round's preferences, with the steps
    behind them.
    """

    number: int
    candidate: EvaluatedPolicy
    others: Opponents
    logps: Artifact | None
    held_out: Artifact
    own: RoundPreferences
    earlier: Sequence[RoundRecord] = ()

    @property
    def policies(self) -> dict[str, EvaluatedPolicy]:
        return {"candidate": self.candidate, **self.others.answering}

    def more_opponents(self, config: CampaignConfig) -> list[Answers]:
        return choose_earlier_opponents(config, self.others, self.earlier)


def evaluate(session: Session, round_: RoundEvaluation) -> Artifact:
    """The candidate's metrics with intervals, and warnings about them."""
    config = session.config
    training = config.judge if compares_with_training_judge(config) else None
    return session.step(
        round_.number,
        "evaluation",
        partial(_make, session, round_),
        config=_recipe(config, round_),
        inputs={**_find_inputs(round_, config), **_find_models(session, training)},
        functions={
            **judges_functions(config.held_out_judge),
            **(judges_functions(training) if training is not None else {}),
        },
    )


def _find_inputs(round_: RoundEvaluation, config: CampaignConfig) -> dict[str, Input]:
    inputs = {"candidate_policy": round_.candidate.policy.input, **round_.others.policy_inputs}
    for name, policy in round_.policies.items():
        inputs |= Answers.of(policy).inputs(name)
    inputs |= parquet_inputs(logps=round_.logps)
    for answers in round_.more_opponents(config):
        inputs |= answers.inputs(f"round_{answers.round}")
    for name, step in find_earlier_matches(round_.earlier).items():
        inputs[name] = step.input(MATCHES_FILE)
    inputs["training_prompts"] = round_.own.training_prompts.input("prompts.parquet")
    inputs["held_out"] = round_.held_out.input("prompts.parquet")
    return inputs | relevance_inputs(round_.policies) | suite_inputs(round_.policies)


def _find_models(session: Session, training: AnyJudgeConfig | None) -> dict[str, Input]:
    models = judge_model_inputs(session, session.config.held_out_judge)
    by_training = judge_model_inputs(session, training) if training is not None else {}
    return models | {f"training {name}": model for name, model in by_training.items()}


def _recipe(config: CampaignConfig, round_: RoundEvaluation) -> Mapping[str, object]:
    """What the metrics depend on besides the inputs."""
    section = config.evaluation
    agreed = measure_agreement_with_people(round_.own, round_.earlier)
    may_fall = {name: suite.may_fall for name, suite in section.suites.items()}
    training = {**judge_config(config.judge), "prompts": section.training_judge_prompts}
    return {
        **section.model_dump(mode="json", exclude=_NOT_AS_WRITTEN),
        **judge_config(config.held_out_judge),
        **({"suites": may_fall} if may_fall else {}),
        **({"agreed": [asdict(agreement) for agreement in agreed]} if agreed else {}),
        **({"trained_by": training} if compares_with_training_judge(config) else {}),
        "same_judge": has_same_judges(config),
        **({"unjudged": "loses"} if unjudged_loses(config.gate) else {}),
    }


def _make(session: Session, round_: RoundEvaluation, folder: Path, inputs: Inputs) -> StepResult:
    config = session.config.evaluation
    read = partial(read_answers, inputs, same_judge=has_same_judges(session.config))
    ours, others = read("candidate", round_.number), _read_others(round_, read)
    judge = session.config.held_out_judge
    matches = play_matches(session, judge, ours, others)
    distinct = list({match.theirs.round: match for match in matches.values()}.values())
    rounds = [answers.round for answers in round_.more_opponents(session.config)]
    more = [play_match(session, judge, ours, read(f"round_{n}", n)) for n in rounds]
    rows = list(iterate_outcomes(matches))
    by_training = compare_by_training_judge(session, ours, others)
    write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
    write_rows(folder / TRAINING_OUTCOMES_FILE, by_training, OUTCOMES)
    opponents_answered = [*distinct, *more]
    write_matches(folder / MATCHES_FILE, round_.number, opponents_answered)
    before = map(inputs.path, find_earlier_matches(round_.earlier))
    all_matches = Matches.read([*before, folder / MATCHES_FILE])
    win_rates = measure_win_rates(rows, config)
    relevance, relevance_counts = measure_relevance(inputs, config)
    rating, ratings = rate_policies(round_.number, all_matches, config)
    slices = measure_slices(rows, ours, config)
    metrics = RoundMetrics(
        round=round_.number,
        **win_rates,
        **measure_distances(inputs, ours, round_.others, config),
        **compare_styles(ours, others, config),
        **measure_training_scores(ours, others["base"], config),
        **measure_training_win_rates(session.config, ours, others, by_training, win_rates),
        **measure_writing(ours, others["base"], config),
        **relevance,
        **relevance_counts,
        **rating,
        ratings=ratings,
        decided=count_decided(rows),
        cycles=certain_cycles(all_matches, config),
        forgotten=find_forgotten_prompts(folder, round_.number, all_matches, ours),
        slices={name: asdict(found) for name, found in slices.items()},
        overlap=measure_overlap(inputs, config.overlap_ngram),
        suites=measure_suites(inputs, config),
    )
    warnings = dict(_warnings(session.config, round_, ours, others, metrics, slices))
    measured = {name: value for name, value in metrics.given().items() if name != "round"}
    write_json(folder / "evaluation.json", {**measured, "warnings": warnings})
    judged = opponents_answered if config.opponents == "all" else distinct
    facts = EvaluationFacts(judges=measure_judges(judged), **session.judges.take_seconds())
    dropped = _count_undecided(rows, by_training)
    came_in = len(rows) + len(by_training)
    kept, versions = came_in - sum(dropped.values()), dict(session.judges.versions)
    return StepResult(came_in, kept, dropped, facts, versions)


def _count_undecided(rows: Rows, by_training: Rows) -> dict[str, int]:
    """Comparisons that a judge could not decide, by reason."""
    judged = {"unreadable": rows, "unreadable to the training judge": by_training}
    counts = {name: sum(row["outcome"] is None for row in of) for name, of in judged.items()}
    return {name: count for name, count in counts.items() if count}


def _read_others(
    round_: RoundEvaluation, read: Callable[[str, int], HeldOutAnswers]
) -> dict[str, HeldOutAnswers]:
    """The opponents' answers, each policy's read once."""
    rounds = {name: other.policy.round for name, other in round_.others.answering.items()}
    distinct = {number: name for name, number in rounds.items()}
    answers = {number: read(name, number) for number, name in distinct.items()}
    return {name: answers[number] for name, number in rounds.items()}


def _warnings(
    config: CampaignConfig,
    round_: RoundEvaluation,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    metrics: RoundMetrics,
    slices: Mapping[str, Slice],
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each reason for caution."""
    shared = shared_judge_warning(config)
    if shared and round_.number == 1:  # true of all rounds, reported once
        yield "same judge", shared
    agreed = measure_agreement_with_people(round_.own, round_.earlier)
    yield from over_optimisation_warnings(ours, others, metrics, agreed, config.evaluation)
    yield from suite_warnings(metrics.suites or {})
    yield from slice_warnings(slices)
    counts = metrics.relevance_counts
    yield from relevance_warnings(round_.number, config.evaluation.requests, counts)
    yield from cycle_warnings(round_.number, metrics.cycles or [])
