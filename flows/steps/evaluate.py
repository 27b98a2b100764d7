"""Step `evaluation`: is the candidate better than the last promoted policy and the base, and at
what distance from them? What is compared is prompt by prompt, on held-out prompts."""

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
from flows.evaluation.distances import distances
from flows.evaluation.earlier_rounds import (
    MATCHES_FILE,
    Matches,
    circles,
    earlier_matches,
    forgotten_prompts,
    more_opponents,
    ratings,
    write_matches,
)
from flows.evaluation.earlier_rounds import told as circles_told
from flows.evaluation.held_out import (
    Answers,
    HeldOutAnswers,
    Opponents,
    overlapping,
    read_answers,
    trained_on,
)
from flows.evaluation.judging import (
    judges_alike,
    judges_behaviour,
    judges_models,
    outcomes,
    play_all,
    play_match,
    same_judge,
    training_judge_compares_too,
    unjudged_loses,
)
from flows.evaluation.relevance import relevance, relevance_inputs
from flows.evaluation.relevance import told as relevance_told
from flows.evaluation.suites import suite_inputs, suites
from flows.evaluation.suites import told as suites_told
from flows.evaluation.training_judge import (
    TRAINING_OUTCOMES_FILE,
    agreed_with_people,
    over_optimisation,
    training_outcomes,
    training_scores,
    training_win_rates,
)
from flows.evaluation.win_rates import slices, win_rates
from flows.evaluation.win_rates import told as slices_told
from flows.evaluation.writing import descriptions, writing
from flows.policy import EvaluatedPolicy, RoundPreferences, RoundRecord
from flows.session import Session
from labeling.judges.make import judge_config, judges_functions

Outcomes = Sequence[Mapping[str, Any]]
"""Rows of OUTCOMES."""


_NOT_AS_WRITTEN = {"suites", "training_judge_prompts", "relevance"}
"""Keys of the section that count by what is made of them."""


@dataclass(frozen=True)
class _RoundEvaluation:
    """All that a round's policy is evaluated by."""

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
    def answered(self) -> dict[str, EvaluatedPolicy]:
        return {"candidate": self.candidate, **self.others.answering}

    @property
    def more(self) -> list[Answers]:
        return more_opponents(self.session.config, self.others, self.earlier)

    def inputs(self) -> dict[str, Input]:
        inputs = {"candidate_policy": self.candidate.policy.input}
        inputs |= {f"{name}_policy": policy.input for name, policy in self.others.policies.items()}
        for name, answered in self.answered.items():
            inputs |= Answers.of(answered).inputs(name)
        if self.logps is not None:
            inputs["logps"] = self.logps.input("logps.parquet")
        for answers in self.more:
            inputs |= answers.inputs(f"round_{answers.round}")
        for name, made in earlier_matches(self.earlier).items():
            inputs[name] = made.input(MATCHES_FILE)
        inputs["training_prompts"] = trained_on(self.own).input("prompts.parquet")
        inputs["held_out"] = self.held_out.input("prompts.parquet")
        inputs |= relevance_inputs(self.answered)
        return inputs | suite_inputs(self.answered) | self._models()

    def _models(self) -> dict[str, Input]:
        config = self.session.config
        found = judges_models(self.session, config.held_out_judge)
        if training_judge_compares_too(config):
            trained_by = judges_models(self.session, config.judge)
            found |= {f"training {name}": model for name, model in trained_by.items()}
        return found

    def recipe(self) -> dict[str, Any]:
        """What the numbers depend on besides the inputs."""
        config = self.session.config
        agreed = agreed_with_people(self.own, self.earlier)
        may_fall = {name: suite.may_fall for name, suite in self.config.suites.items()}
        prompts = self.config.training_judge_prompts
        training = {**judge_config(config.judge), "prompts": prompts}
        return {
            **self.config.model_dump(mode="json", exclude=_NOT_AS_WRITTEN),
            **judge_config(config.held_out_judge),
            **({"suites": may_fall} if may_fall else {}),
            **({"agreed": [asdict(one) for one in agreed]} if agreed else {}),
            **({"trained_by": training} if training_judge_compares_too(config) else {}),
            "same_judge": judges_alike(config),
            **({"unjudged": "loses"} if unjudged_loses(config.gate) else {}),
        }

    def functions(self) -> dict[str, str]:
        """User code that the numbers depend on."""
        config = self.session.config
        trained_by = judges_functions(config.judge) if training_judge_compares_too(config) else {}
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
    """The candidate's numbers with their intervals, and in words what is wrong with them.

    own: how the round's preferences came about; earlier: the rounds before.
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
    read = partial(read_answers, inputs, same_judge=judges_alike(session.config))
    ours, others = read("candidate", round_.number), _others(round_, read)
    judge = session.config.held_out_judge
    matches = play_all(session, judge, ours, others)
    distinct = list({match.theirs.round: match for match in matches.values()}.values())
    more = [
        play_match(session, judge, ours, read(f"round_{n.round}", n.round)) for n in round_.more
    ]
    rows, by_training = list(outcomes(matches)), training_outcomes(session, ours, others)
    write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
    write_rows(folder / TRAINING_OUTCOMES_FILE, by_training, OUTCOMES)
    played = [*distinct, *more]
    write_matches(folder / MATCHES_FILE, round_.number, played)
    before = map(inputs.path, earlier_matches(round_.earlier))
    met = Matches.read([*before, folder / MATCHES_FILE])
    won = win_rates(rows, config)
    numbers = {
        **won,
        **distances(inputs, ours, round_.others, config),
        **descriptions(ours, others, config),
        **training_scores(ours, others["base"], config),
        **training_win_rates(session.config, ours, others, by_training, won),
        **writing(ours, others["base"], config),
        **relevance(inputs, config),
        **ratings(round_.number, met, config),
        "cycles": circles(met, config),
        "forgotten": forgotten_prompts(folder / "forgotten.parquet", round_.number, met, ours),
        "slices": slices(rows, ours, config),
        "overlap": overlapping(inputs, config.overlap_ngram),
        "suites": suites(inputs, config),
    }
    warnings = dict(_warnings(round_, ours, others, numbers))
    write_json(folder / "evaluation.json", {**numbers, "warnings": warnings})
    judged = played if config.opponents == "all" else distinct
    facts = {"judges": judges_behaviour(judged), **session.judges.started()}
    dropped = _unread(rows, by_training)
    came_in = len(rows) + len(by_training)
    kept, versions = came_in - sum(dropped.values()), dict(session.judges.versions)
    return StepResult(came_in, kept, dropped, facts, versions)


def _unread(rows: Outcomes, by_training: Outcomes) -> dict[str, int]:
    """Comparisons that a judge could not decide, by what they are called."""
    named = {"unreadable": rows, "unreadable to the training judge": by_training}
    counts = {name: sum(row["outcome"] is None for row in of) for name, of in named.items()}
    return {name: count for name, count in counts.items() if count}


def _others(
    round_: _RoundEvaluation, read: Callable[[str, int], HeldOutAnswers]
) -> dict[str, HeldOutAnswers]:
    """The answers of those who are compared, each read once."""
    asked = {name: other.policy.round for name, other in round_.others.answering.items()}
    distinct = {number: name for name, number in asked.items()}
    found = {number: read(name, number) for number, name in distinct.items()}
    return {name: found[number] for name, number in asked.items()}


def _warnings(
    round_: _RoundEvaluation,
    ours: HeldOutAnswers,
    others: Mapping[str, HeldOutAnswers],
    numbers: Mapping[str, Any],
) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each thing to know before believing the numbers."""
    said = same_judge(round_.session.config)
    if said and round_.number == 1:  # it is true of all rounds, and said once
        yield "same judge", said
    agreed = agreed_with_people(round_.own, round_.earlier)
    yield from over_optimisation(ours, others, numbers, agreed, round_.config)
    yield from suites_told(numbers["suites"])
    yield from slices_told(numbers["slices"])
    yield from relevance_told(round_.number, round_.config.requests, numbers)
    yield from circles_told(round_.number, numbers["cycles"])
