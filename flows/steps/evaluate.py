"""Step `evaluation`: is the candidate better than the incumbent and the base, and how far from them
is it? All comparisons are paired by held-out prompt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.schemas import OUTCOMES
from dpo_core.tables import write_rows
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.distances import measure_distances
from flows.evaluation.earlier_rounds import (
    MATCHES_FILE,
    Matches,
    choose_earlier_opponents,
    cycle_warnings,
    find_cycles,
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
from flows.evaluation.win_rates import measure_slices, measure_win_rates, slice_warnings
from flows.evaluation.writing import describe_answers, measure_writing
from flows.round_state import EvaluatedPolicy, RoundPreferences, RoundRecord
from flows.session import Session
from labeling.judges.make import judge_config, judges_functions

Outcomes = Sequence[Mapping[str, Any]]
"""Rows of OUTCOMES."""

_NOT_AS_WRITTEN = {"suites", "training_judge_prompts", "relevance"}
"""Keys of the section that other parts of the recipe cover."""


@dataclass(frozen=True)
class _RoundEvaluation:
    """All that the evaluation of a round's policy depends on."""

    session: Session
    number: int
    candidate: EvaluatedPolicy
    others: Opponents
    logps: Artifact | None
    held_out: Artifact
    own: RoundPreferences
    earlier: Sequence[RoundRecord]

    @property
    def config(self) -> HeldOutConfig:
        return self.session.config.evaluation

    @property
    def policies(self) -> dict[str, EvaluatedPolicy]:
        return {"candidate": self.candidate, **self.others.answering}

    @property
    def more(self) -> list[Answers]:
        return choose_earlier_opponents(self.session.config, self.others, self.earlier)

    def inputs(self) -> dict[str, Input]:
        inputs = {"candidate_policy": self.candidate.policy.input}
        inputs |= {f"{name}_policy": other.input for name, other in self.others.policies.items()}
        for name, policy in self.policies.items():
            inputs |= Answers.of(policy).inputs(name)
        if self.logps is not None:
            inputs["logps"] = self.logps.input("logps.parquet")
        for answers in self.more:
            inputs |= answers.inputs(f"round_{answers.round}")
        for name, step in find_earlier_matches(self.earlier).items():
            inputs[name] = step.input(MATCHES_FILE)
        inputs["training_prompts"] = self.own.training_prompts.input("prompts.parquet")
        inputs["held_out"] = self.held_out.input("prompts.parquet")
        inputs |= relevance_inputs(self.policies)
        return inputs | suite_inputs(self.policies) | self._models()

    def _models(self) -> dict[str, Input]:
        config = self.session.config
        models = judge_model_inputs(self.session, config.held_out_judge)
        if compares_with_training_judge(config):
            training = judge_model_inputs(self.session, config.judge)
            models |= {f"training {name}": model for name, model in training.items()}
        return models

    def recipe(self) -> dict[str, Any]:
        """What the metrics depend on besides the inputs."""
        config = self.session.config
        agreed = measure_agreement_with_people(self.own, self.earlier)
        may_fall = {name: suite.may_fall for name, suite in self.config.suites.items()}
        prompts = self.config.training_judge_prompts
        training = {**judge_config(config.judge), "prompts": prompts}
        return {
            **self.config.model_dump(mode="json", exclude=_NOT_AS_WRITTEN),
            **judge_config(config.held_out_judge),
            **({"suites": may_fall} if may_fall else {}),
            **({"agreed": [asdict(agreement) for agreement in agreed]} if agreed else {}),
            **({"trained_by": training} if compares_with_training_judge(config) else {}),
            "same_judge": has_same_judges(config),
            **({"unjudged": "loses"} if unjudged_loses(config.gate) else {}),
        }

    def functions(self) -> dict[str, str]:
        """User code that the metrics depend on."""
        config = self.session.config
        trained_by = judges_functions(config.judge) if compares_with_training_judge(config) else {}
        return {**judges_functions(config.held_out_judge), **trained_by}


def evaluate(
    session: Session,
    number: int,
    candidate: EvaluatedPolicy,
    others: Opponents,
    logps: Artifact | None,
    held_out: Artifact,
    own: RoundPreferences,
    earlier: Sequence[RoundRecord],
) -> Artifact:
    """The candidate's metrics with intervals, and warnings about them.

    own: the round's preferences and the steps behind them.
    """
    round_ = _RoundEvaluation(session, number, candidate, others, logps, held_out, own, earlier)
    return session.step(
        number,
        "evaluation",
        partial(_make, round_),
        config=round_.recipe(),
        inputs=round_.inputs(),
        functions=round_.functions(),
    )


def _make(round_: _RoundEvaluation, folder: Path, inputs: Inputs) -> StepResult:
    session, config = round_.session, round_.config
    read = partial(read_answers, inputs, same_judge=has_same_judges(session.config))
    ours, others = read("candidate", round_.number), _read_others(round_, read)
    judge = session.config.held_out_judge
    matches = play_matches(session, judge, ours, others)
    distinct = list({match.theirs.round: match for match in matches.values()}.values())
    more = [
        play_match(session, judge, ours, read(f"round_{n.round}", n.round)) for n in round_.more
    ]
    rows, by_training = (
        list(iterate_outcomes(matches)),
        compare_by_training_judge(session, ours, others),
    )
    write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
    write_rows(folder / TRAINING_OUTCOMES_FILE, by_training, OUTCOMES)
    played = [*distinct, *more]
    write_matches(folder / MATCHES_FILE, round_.number, played)
    before = map(inputs.path, find_earlier_matches(round_.earlier))
    all_matches = Matches.read([*before, folder / MATCHES_FILE])
    win_rates = measure_win_rates(rows, config)
    numbers = {
        **win_rates,
        **measure_distances(inputs, ours, round_.others, config),
        **describe_answers(ours, others, config),
        **measure_training_scores(ours, others["base"], config),
        **measure_training_win_rates(session.config, ours, others, by_training, win_rates),
        **measure_writing(ours, others["base"], config),
        **measure_relevance(inputs, config),
        **rate_policies(round_.number, all_matches, config),
        "cycles": find_cycles(all_matches, config),
        "forgotten": find_forgotten_prompts(
            folder / "forgotten.parquet", round_.number, all_matches, ours
        ),
        "slices": measure_slices(rows, ours, config),
        "overlap": measure_overlap(inputs, config.overlap_ngram),
        "suites": measure_suites(inputs, config),
    }
    warnings = dict(_warnings(round_, ours, others, numbers))
    write_json(folder / "evaluation.json", {**numbers, "warnings": warnings})
    judged = played if config.opponents == "all" else distinct
    facts = {"judges": measure_judges(judged), **session.judges.take_seconds()}
    dropped = _count_undecided(rows, by_training)
    came_in = len(rows) + len(by_training)
    kept, versions = came_in - sum(dropped.values()), dict(session.judges.versions)
    return StepResult(came_in, kept, dropped, facts, versions)


def _count_undecided(rows: Outcomes, by_training: Outcomes) -> dict[str, int]:
    """Comparisons that a judge could not decide, by reason."""
    judged = {"unreadable": rows, "unreadable to the training judge": by_training}
    counts = {name: sum(row["outcome"] is None for row in of) for name, of in judged.items()}
    return {name: count for name, count in counts.items() if count}


def _read_others(
    round_: _RoundEvaluation, read: Callable[[str, int], HeldOutAnswers]
) -> dict[str, HeldOutAnswers]:
    """The opponents' answers, each policy's read once."""
    rounds = {name: other.policy.round for name, other in round_.others.answering.items()}
    distinct = {number: name for name, number in rounds.items()}
    answers = {number: read(name, number) for number, name in distinct.items()}
    return {name: answers[number] for name, number in rounds.items()}


def _warnings(
    round_: _RoundEvaluation,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    numbers: Mapping[str, Any],
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each reason for caution."""
    shared = shared_judge_warning(round_.session.config)
    if shared and round_.number == 1:  # true of all rounds, reported once
        yield "same judge", shared
    agreed = measure_agreement_with_people(round_.own, round_.earlier)
    yield from over_optimisation_warnings(ours, others, numbers, agreed, round_.config)
    yield from suite_warnings(numbers["suites"])
    yield from slice_warnings(numbers["slices"])
    yield from relevance_warnings(round_.number, round_.config.requests, numbers)
    yield from cycle_warnings(round_.number, numbers["cycles"])
