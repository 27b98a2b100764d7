"""Step `gate`: does the candidate go on, what happens if not; and the round is written down."""

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
from dpo_core.gate.config import as_asked
from dpo_core.gate.decision import Best, Decision, PersonsDecision, answered, decide
from dpo_core.hashing import digest
from dpo_core.tables import read_rows
from flows.evaluation.win_rates import measure_gate_against_base
from flows.gate.question import ask_question, find_answer, question_id
from flows.round_state import EvaluatedPolicy
from flows.session import Session
from flows.steps.certify import CertificateResult
from flows.steps.round_row import round_row


@dataclass(frozen=True)
class RejectedAttempt:
    """An attempt at the round that was refused: under what, and why."""

    attempt: int
    changes: tuple[str, ...]
    decision: str


@dataclass(frozen=True)
class GateCandidate:
    """A round's trained policy as it comes to the gate. changes: of the config, for this attempt;
    tried: the attempts before it; certified: what the test came to, where the gate goes by one."""

    answered: EvaluatedPolicy
    evaluation: Artifact
    steps: Mapping[str, Artifact | None]
    changes: tuple[str, ...] = ()
    tried: tuple[RejectedAttempt, ...] = ()
    certified: CertificateResult | None = None

    @property
    def attempt(self) -> int:
        return len(self.tried) + 1


def gate(
    session: Session, number: int, previous: EvaluatedPolicy, candidate: GateCandidate, best: Best
) -> Artifact:
    """What becomes of the candidate, with the round's numbers; see `decision_of`.

    Raises WaitingForPeople when a person is to say it and has not.
    """
    found = _Gate(session, number, previous, candidate, best)
    question = question_id(number, candidate.evaluation.hash("evaluation.json"))
    answer = find_answer(session.layout, question, session.store.finished(number, "gate"))
    made = found.decided(question, answer)
    if read_decision(made).action != "ask":
        waited_for(session.layout, number)
        return made
    raise ask_question(session.layout, number, question, read_decision(made))


def read_decision(made: Artifact) -> Decision:
    return Decision.from_json(made.entry.facts["gate"])


@dataclass(frozen=True)
class _Gate:
    session: Session
    number: int
    previous: EvaluatedPolicy
    candidate: GateCandidate
    best: Best

    def decided(self, question: str, answer: PersonsDecision | None) -> Artifact:
        """By the numbers, and where they do not pass and a person is asked, by `answer`."""
        candidate = self.candidate
        recipe = {
            "gate": as_asked(self.session.config.gate),
            "attempt": candidate.attempt,
            "tried": [asdict(tried) for tried in candidate.tried],
            "changes": list(candidate.changes),
            "best": asdict(self.best),
            "answer": asdict(answer) if answer is not None else None,
        }

        def make(folder: Path, inputs: Inputs) -> StepResult:
            numbers = _numbers(inputs.path("evaluation"))
            numbers |= self._against_base(inputs.path("outcomes"))
            decision = self._decide(numbers, answer)
            for said in self._notices(numbers, decision).values():
                self.session.progress.notice(f"round {self.number}: {said}")
            write_json(folder / "metrics.json", self._row(numbers, decision, answer))
            facts = {
                "promoted": decision.promoted,
                "reason": decision.sentence,
                "gate": decision.as_json(),
                **_standing(numbers),
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
                "training": Input(candidate.answered.policy.made_by.entry.fingerprint),
                "steps": Input(_told_of(candidate.steps)),
                **(candidate.certified.inputs if candidate.certified is not None else {}),
            },
        )

    def _against_base(self, outcomes: Path) -> dict[str, Any]:
        """How the candidate stands on gate prompts: those of the test only tell."""
        config = self.session.config
        rows = read_rows(outcomes)
        controlled = config.gate.win_rate == "length_controlled"
        return measure_gate_against_base(rows, config.evaluation, length_controlled=controlled)

    def _decide(self, numbers: Mapping[str, Any], answer: PersonsDecision | None) -> Decision:
        certified = self.candidate.certified
        holds = certified is not None and certified.facts["certified"]
        groups = self.session.config.prompts.split_by == "group"
        more = certificate_checks(certified.facts, groups=groups) if certified is not None else ()
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
            return answered(decision, answer, self.number)
        return decision

    def _notices(self, numbers: Mapping[str, Any], decision: Decision) -> dict[str, str]:
        """name → what might be trained with instead; and in the first round what is not checked
        although it is meant to be."""
        trained = self.candidate.answered.policy.made_by.entry.facts.get("settings", {})
        found = values_to_try(decision.checks, trained)
        if self.number == 1:
            found |= notices(numbers, self.session.config.gate)
        return {name: f"{said[:1].upper()}{said[1:]}." for name, said in found.items()}

    def _row(
        self, numbers: Mapping[str, Any], decision: Decision, answer: PersonsDecision | None
    ) -> dict[str, Any]:
        candidate = self.candidate
        row = round_row(
            self.number,
            self.previous.policy,
            candidate.answered.policy,
            decision.promoted,
            numbers,
            candidate.steps,
        )
        row |= cost_columns(self.session.store.entries, self.number, self.session.config.prices)
        row["warnings"] = row["warnings"] | self._notices(numbers, decision)
        told = {
            **decision.as_json(),
            "changes": list(candidate.changes),
            "tried": [asdict(tried) for tried in candidate.tried],
            "answer": asdict(answer) if answer is not None else None,
            **({"certificate": certified.told} if (certified := candidate.certified) else {}),
        }
        return {**row, "decision": decision.sentence, "gate": told}


def _numbers(evaluation: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(evaluation.read_text(encoding="utf-8"))
    return found


def _told_of(steps: Mapping[str, Artifact | None]) -> str:
    """Hash of what came of the steps whose counts and findings the round's row repeats. Not of
    their parquet files, where measured times and memory may stand, which no run repeats."""
    entries = {name: made.entry for name, made in steps.items() if made is not None}
    return digest({name: [e.kept, e.dropped, _findings(e)] for name, e in entries.items()})


def _findings(entry: Entry) -> dict[str, str]:
    return {name: found for name, found in entry.outputs.items() if name.endswith(".json")}


def _standing(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The lower end against the base, of the win rate that the gate goes by; of the plain one too
    where that is another."""
    plain, name = numbers["win_rate_gate_base_low"], "lc_win_rate_gate_base"
    if f"{name}_low" not in numbers:
        return {"against_base_low": plain}
    return {
        "against_base_low": numbers[f"{name}_low"],
        "against_base_low_plain": plain,
        "against_base_extrapolated": numbers[f"{name}_extrapolated"],
    }


def add_rejected(candidate: GateCandidate, decision: Decision) -> tuple[RejectedAttempt, ...]:
    """The attempts so far, this one included."""
    this = RejectedAttempt(candidate.attempt, candidate.changes, decision.sentence)
    return (*candidate.tried, this)
