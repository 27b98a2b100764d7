"""Step `gate`: promote the candidate or keep the last promoted policy, and write the round down."""

import json
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.store import Artifact, Made
from dpo_core.config import PromoteConfig
from flows.costs import cost_columns
from flows.policy import Answered
from flows.session import Session
from flows.steps.round_row import round_row


def gate(
    session: Session,
    number: int,
    previous: Answered,
    candidate: Answered,
    evaluation: Artifact,
    steps: dict[str, Artifact | None],
) -> Answered:
    """The policy that goes on: the candidate if it passed, else the last promoted one."""
    promote = session.config.promote

    def make(folder: Path) -> Made:
        numbers = json.loads(evaluation.path("evaluation.json").read_text(encoding="utf-8"))
        promoted, reason = decide(numbers, promote)
        row = round_row(number, previous.policy, candidate.policy, promoted, numbers, steps)
        row |= cost_columns(session.store.ledger.read(), number, session.config.prices)
        write_json(folder / "metrics.json", {**row, "decision": reason})
        return Made(facts={"promoted": promoted, "reason": reason})

    artifact = session.step(
        number,
        "gate",
        make,
        config={"promote": promote.model_dump(mode="json")},
        inputs={
            "evaluation": evaluation.hash("evaluation.json"),
            "training": candidate.policy.made_by.entry.fingerprint,
        },
    )
    return candidate if artifact.entry.facts["promoted"] else previous


def decide(numbers: dict[str, Any], config: PromoteConfig) -> tuple[bool, str]:
    """(promote?, the reason in a sentence) from the win rate on the gate prompts."""
    name = "win_rate_gate" if config.use == "estimate" else "win_rate_gate_low"
    value = numbers[name]
    what = "gate win rate" if config.use == "estimate" else "lower end of the gate win rate"
    if value is None:
        return False, f"kept the previous policy: no {what}, no gate comparison could be read"
    passed = value > config.threshold
    verb = "promoted" if passed else "kept the previous policy"
    relation = "is above" if passed else "is not above"
    return passed, f"{verb}: {what} {value:.3f} {relation} {config.threshold:g}"
