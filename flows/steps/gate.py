"""Step `gate`: promote the candidate or not, and write the round's metrics."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.costs import cost_columns
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.waiting import waited_for
from dpo_core.gate.checks import certificate_checks, notices, values_to_try
from dpo_core.gate.config import gate_recipe
from dpo_core.gate.decision import Best, Decision, PersonsDecision, apply_answer, decide
from dpo_core.hashing import digest
from dpo_core.schemas import OutcomeRow
from dpo_core.tables import iterate_as
from flows.evaluation.win_rates import measure_gate_against_base
from flows.gate.question import ask_question, find_answer, question_id
from flows.round_state import EvaluatedPolicy
from flows.session import Session
from flows.steps.certify import CertificateResult
from flows.steps.round_row import round_row


@dataclass(frozen=True)
class RejectedAttempt:
    """An attempt at the round that the gate rejected: under which changes, and why."""

    attempt: int
    changes: tuple[str, ...]
    decision: str


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

    def as_json(self, answer: PersonsDecision | None) -> dict[str, Any]:
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
            numbers: dict[str, Any] = json.loads(inputs.path("evaluation").read_text("utf-8"))
            numbers |= self._compare_with_base(inputs.path("outcomes"))
            decision = self._decide(numbers, answer)
            for notice in self._notices(numbers, decision).values():
                self.session.progress.notice(f"round {self.number}: {notice}")
            write_json(folder / "metrics.json", self._row(numbers, decision, answer))
            facts = {
                "promoted": decision.promoted,
                "reason": decision.sentence,
                "gate": decision.as_json(),
                **_win_rate_low(numbers),
                "question": question,
                "answer": recipe["answer"],
            }
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

    def _compare_with_base(self, outcomes: Path) -> dict[str, Any]:
        """The win rate against the base on gate prompts; test prompts decide nothing."""
        config = self.session.config
        rows = list(iterate_as(outcomes, OutcomeRow))
        controlled = config.gate.win_rate == "length_controlled"
        return measure_gate_against_base(rows, config.evaluation, length_controlled=controlled)

    def _decide(self, numbers: Mapping[str, Any], answer: PersonsDecision | None) -> Decision:
        certificate = self.candidate.certificate
        holds = certificate is not None and certificate.facts.certified
        groups = self.session.config.prompts.split_by == "group"
        more = certificate_checks(certificate.facts.as_json(), groups=groups) if certificate else ()
        decision = decide(
            {**numbers, "certified": holds},
            self.session.config.gate,
            number=self.number,
            previous=self.previous.policy.round,
            best=self.best,
            attempt=self.candidate.attempt,
            more=list(more),
        )
        if decision.action == "ask" and answer is not None:
            return apply_answer(decision, answer, self.number)
        return decision

    def _notices(self, numbers: Mapping[str, Any], decision: Decision) -> dict[str, str]:
        """name → settings to try instead; in round 1 also checks that cannot be made."""
        trained = self.candidate.evaluated.policy.made_by.entry.facts.get("settings", {})
        found = values_to_try(decision.checks, trained)
        if self.number == 1:
            found |= notices(numbers, self.session.config.gate)
        return {name: f"{text[:1].upper()}{text[1:]}." for name, text in found.items()}

    def _row(
        self, numbers: Mapping[str, Any], decision: Decision, answer: PersonsDecision | None
    ) -> dict[str, Any]:
        candidate = self.candidate
        row = round_row(
            self.number,
            self.previous.policy,
            candidate.evaluated.policy,
            decision.promoted,
            numbers,
            candidate.steps,
        )
        row |= cost_columns(self.session.store.entries, self.number, self.session.config.prices)
        row["warnings"] = row["warnings"] | self._notices(numbers, decision)
        gate = {**decision.as_json(), **candidate.as_json(answer)}
        if candidate.certificate is not None:
            gate["certificate"] = candidate.certificate.metrics
        return {**row, "decision": decision.sentence, "gate": gate}


def _hash_counts(steps: Mapping[str, Artifact | None]) -> str:
    """Hash of the counts and JSON outputs that the round's row repeats. Parquet files are left out,
    because they may hold measured times and memory, which no run repeats."""

    def count(entry: Entry) -> list[Any]:
        outputs = {name: sha for name, sha in entry.outputs.items() if name.endswith(".json")}
        return [entry.kept, entry.dropped, outputs]

    return digest({name: count(step.entry) for name, step in steps.items() if step is not None})


def _win_rate_low(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Lower bound of the gate's win rate against the base, and of the plain one if different."""
    plain, name = numbers["win_rate_gate_base_low"], "lc_win_rate_gate_base"
    if f"{name}_low" not in numbers:
        return {"against_base_low": plain}
    return {
        "against_base_low": numbers[f"{name}_low"],
        "against_base_low_plain": plain,
        "against_base_extrapolated": numbers[f"{name}_extrapolated"],
    }
