"""Step `gate`: promote the candidate or not, and write the round's metrics."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.costs import round_cost
from dpo_core.campaign.gate_record import GateFacts, PersonsDecision, RejectedAttempt
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.step_facts import CertificateFacts
from dpo_core.campaign.waiting import waited_for
from dpo_core.gate.checks import certificate_checks, notices, values_to_try
from dpo_core.gate.config import gate_recipe
from dpo_core.gate.decision import Best, Decision, apply_answer, decide
from dpo_core.hashing import digest
from dpo_core.schemas import OutcomeRow
from dpo_core.tables import iterate_as
from dpo_core.training.results import TrainingFacts
from flows.evaluation.win_rates import measure_gate_against_base
from flows.gate.question import ask_question, find_answer, question_id
from flows.round_state import EvaluatedPolicy
from flows.session import Session
from flows.steps.certify import CertificateResult
from flows.steps.round_row import round_row


@dataclass(frozen=True)
class GateCandidate:
    """A round's trained policy at the gate.

    changes: of the config, for this attempt. rejected: earlier attempts. certificate: the result of
    the sequential test, if the gate has one.
    """

    evaluated: EvaluatedPolicy
    evaluation: Artifact
    steps: Mapping[str, Artifact | None]
    changes: tuple[str, ...] = ()
    rejected: tuple[RejectedAttempt, ...] = ()
    certificate: CertificateResult | None = None

    @property
    def attempt(self) -> int:
        return len(self.rejected) + 1

    def rejected_by(self, decision: Decision) -> RejectedAttempt:
        return RejectedAttempt(self.attempt, self.changes, decision.sentence)

    def as_json(self, answer: PersonsDecision | None) -> dict[str, object]:
        """What the step's recipe and the round's metrics both record."""
        return {
            "changes": list(self.changes),
            "tried": [asdict(attempt) for attempt in self.rejected],
            "answer": asdict(answer) if answer is not None else None,
        }


def gate(
    session: Session, number: int, previous: EvaluatedPolicy, candidate: GateCandidate, best: Best
) -> Artifact:
    """Decide what becomes of the candidate; `read_decision` reads it from the artifact.

    Raises WaitingForPeople when a person has to decide and has not.
    """
    question = question_id(number, candidate.evaluation.hash("evaluation.json"))
    answer = find_answer(session.layout, question, session.store.finished(number, "gate"))
    decided = _Gate(session, number, previous, candidate, best).run(question, answer)
    decision = read_decision(decided)
    if decision.action == "ask":
        raise ask_question(session.layout, number, question, decision)
    waited_for(session.layout, number)
    return decided


def read_decision(gate: Artifact) -> Decision:
    return Decision.from_json(gate.entry.facts["gate"])


@dataclass(frozen=True)
class _Gate:
    session: Session
    number: int
    previous: EvaluatedPolicy
    candidate: GateCandidate
    best: Best

    def run(self, question: str, answer: PersonsDecision | None) -> Artifact:
        """Decide by the checks; by `answer` where they fail and a person is asked."""
        candidate = self.candidate
        recipe = {
            "gate": gate_recipe(self.session.config.gate),
            "attempt": candidate.attempt,
            "best": asdict(self.best),
            **candidate.as_json(answer),
        }

        def make(folder: Path, inputs: Inputs) -> StepResult:
            numbers = self._measured(inputs)
            decision = self._decide(numbers, answer)
            for notice in self._notices(numbers, decision).values():
                self.session.progress.notice(f"round {self.number}: {notice}")
            write_json(folder / "metrics.json", self._row(numbers, decision, answer).whole())
            facts = GateFacts(
                promoted=decision.promoted,
                reason=decision.sentence,
                gate=decision.as_json(),
                **_win_rate_low(numbers),
                question=question,
                answer=answer,
            )
            return StepResult(facts=facts)

        return self.session.step(
            self.number,
            "gate",
            make,
            config=recipe,
            inputs={
                "evaluation": candidate.evaluation.input("evaluation.json"),
                "outcomes": candidate.evaluation.input("outcomes.parquet"),
                "training": Input(candidate.evaluated.policy.made_by.entry.fingerprint),
                "steps": Input(_hash_counts(candidate.steps)),
                **(candidate.certificate.inputs if candidate.certificate is not None else {}),
            },
        )

    def _measured(self, inputs: Inputs) -> RoundMetrics:
        """The evaluation, and the win rate against the base on gate prompts; test prompts decide
        nothing."""
        config = self.session.config
        evaluation = json.loads(inputs.path("evaluation").read_text("utf-8"))
        rows = list(iterate_as(inputs.path("outcomes"), OutcomeRow))
        controlled = config.gate.win_rate == "length_controlled"
        gate = measure_gate_against_base(rows, config.evaluation, length_controlled=controlled)
        return RoundMetrics.model_validate({"round": self.number, **evaluation, **gate})

    def _decide(self, numbers: RoundMetrics, answer: PersonsDecision | None) -> Decision:
        certificate = self.candidate.certificate
        test = certificate.facts if certificate is not None else CertificateFacts()
        groups = self.session.config.prompts.split_by == "group"
        decision = decide(
            numbers,
            self.session.config.gate,
            previous=self.previous.policy.round,
            best=self.best,
            attempt=self.candidate.attempt,
            certified=test.certified,
            more=list(certificate_checks(test, groups=groups)),
        )
        if decision.action == "ask" and answer is not None:
            return apply_answer(decision, answer, self.number)
        return decision

    def _notices(self, numbers: RoundMetrics, decision: Decision) -> dict[str, str]:
        """name → settings to try instead; in round 1 also checks that cannot be made."""
        trained = self.candidate.evaluated.policy.made_by.facts(TrainingFacts).settings
        messages = values_to_try(decision.checks, trained.learning_rate, trained.beta)
        if self.number == 1:
            messages |= notices(numbers, self.session.config.gate)
        return {name: f"{text[:1].upper()}{text[1:]}." for name, text in messages.items()}

    def _row(
        self, numbers: RoundMetrics, decision: Decision, answer: PersonsDecision | None
    ) -> RoundMetrics:
        candidate, session = self.candidate, self.session
        row = round_row(
            self.previous.policy,
            candidate.evaluated.policy,
            decision.promoted,
            numbers,
            candidate.steps,
        )
        gate = {**decision.as_json(), **candidate.as_json(answer)}
        if candidate.certificate is not None:
            gate["certificate"] = candidate.certificate.metrics
        return row | RoundMetrics(
            round=self.number,
            gate=gate,
            decision=decision.sentence,
            warnings={**(row.warnings or {}), **self._notices(numbers, decision)},
            **dict(round_cost(session.store.entries, self.number, session.config.prices)),
        )


def _hash_counts(steps: Mapping[str, Artifact | None]) -> str:
    """Hash of the counts and JSON outputs that the round's row repeats. Parquet files are left out,
    because they may hold measured times and memory, which no run repeats."""

    def count(entry: Entry) -> list[object]:
        outputs = {name: sha for name, sha in entry.outputs.items() if name.endswith(".json")}
        return [entry.kept, entry.dropped, outputs]

    return digest({name: count(step.entry) for name, step in steps.items() if step is not None})


def _win_rate_low(numbers: RoundMetrics) -> dict[str, float | None]:
    """Lower bound of the gate's win rate against the base, and of the plain one if different."""
    plain = numbers.win_rate_gate_base_low
    if "lc_win_rate_gate_base_low" not in numbers.model_fields_set:
        return {"against_base_low": plain}
    return {
        "against_base_low": numbers.lc_win_rate_gate_base_low,
        "against_base_low_plain": plain,
        "against_base_extrapolated": numbers.lc_win_rate_gate_base_extrapolated,
    }
