"""What a campaign waits for: labels, or a person's decision at the gate. Kept in `waiting.json`."""

import json
from dataclasses import asdict, dataclass

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout


@dataclass(frozen=True)
class Waiting:
    """What a campaign waits for. needed, missing: numbers of answers. Times are ISO 8601, UTC.

    question: of the gate, where it asks whether a policy is promoted, and not for labels.
    """

    round: int
    dataset: str
    url: str
    needed: int
    missing: int
    asked_at: str
    deadline: str | None
    sentence: str
    question: str | None = None


def write_waiting(layout: Layout, waiting: Waiting) -> None:
    write_json(layout.waiting, asdict(waiting))


def read_waiting(layout: Layout) -> Waiting | None:
    """None for a campaign that waits for nobody."""
    try:
        return Waiting(**json.loads(layout.waiting.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def clear_waiting(layout: Layout) -> None:
    layout.waiting.unlink(missing_ok=True)


def waited_for(layout: Layout, number: int) -> None:
    """Round `number` needs nobody any more; a later round may."""
    waiting = read_waiting(layout)
    if waiting is not None and waiting.round == number:
        clear_waiting(layout)
