"""`ratchet decide`: a person's decision on a policy that did not pass the gate."""

from pathlib import Path

from dpo_core.campaign.gate_record import PersonsDecision
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import read_waiting
from dpo_core.errors import BadInput
from flows.config import check_is_campaign
from flows.gate.question import give_answer, pending_question


def decide_campaign(
    root: Path, *, promote: bool, reason: str, by: str
) -> tuple[int, PersonsDecision]:
    """Answer the question of the campaign in `root`; returns the round and the answer.

    Raises BadInput when there is no question.
    """
    layout = Layout(root)
    check_is_campaign(layout)
    waiting = pending_question(layout)
    if waiting is None or waiting.question is None:
        labels = read_waiting(layout)
        state = labels.sentence if labels else "it is not waiting"
        raise BadInput(
            f"{root} needs no decision: {state}",
            "A round asks when its policy did not pass and gate.otherwise is ask; see `ratchet "
            f"status {root}`.",
        )
    answer = give_answer(layout, waiting.question, promote=promote, reason=reason, by=by)
    return waiting.round, answer
