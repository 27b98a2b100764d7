"""A person's decision on a policy that did not pass the gate."""

from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import read_waiting
from dpo_core.errors import BadInput
from dpo_core.gate.decision import PersonsDecision
from flows.config import check_is_campaign
from flows.gate.question import pending_question, give_answer


def decide_campaign(
    root: Path, *, promote: bool, reason: str, by: str
) -> tuple[int, PersonsDecision]:
    """Answer what the campaign in `root` asks; the round, and the answer.

    Raises BadInput for a campaign that asks nothing.
    """
    layout = Layout(root)
    check_is_campaign(layout)
    waiting = pending_question(layout)
    if waiting is None or waiting.question is None:
        labels = read_waiting(layout)
        found = f"it waits for something else: {labels.sentence}" if labels else "it asks nothing"
        raise BadInput(
            f"{root} waits for no yes or no: {found}",
            "Rounds ask where gate.otherwise is ask and their policy did not pass; see `ratchet "
            f"status {root}`.",
        )
    answer = give_answer(layout, waiting.question, promote=promote, reason=reason, by=by)
    return waiting.round, answer
