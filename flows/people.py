"""A campaign that waits for people: what it waits for, kept beside it, and whether it may go on.

Nothing runs meanwhile. Whoever wants to know looks at `waiting.json`, or asks the label server in
one or two requests.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, read_waiting, write_waiting
from dpo_core.errors import RatchetError
from flows.config import CampaignConfig
from labeling.people.answers import AnswerCounts, latest, tally
from labeling.people.config import PeopleConfig
from labeling.people.log import LabelLog, RoundLog
from labeling.server import DEFAULT_FOLDER, Access, find_access

_FEW = 1000
"""So many records are read in a second or two; more are read when it may be worth it."""


def can_resume(layout: Layout, config: CampaignConfig) -> bool:
    """Whether `ratchet run` would go on now: the quorum is reached, or the deadline has passed.

    False while the server does not answer. Answers that are read on the way are kept.
    """
    waiting = read_waiting(layout)
    if waiting is None:
        return True
    if waiting.question is not None:
        return False  # who answers takes the question away
    people, log = config.asked, LabelLog(layout.labels(waiting.round))
    if people.at_deadline != "wait" and is_past_deadline(people, log.read(), datetime.now(UTC)):
        return True
    try:
        found = _looked_at(people, log)
    except RatchetError:
        return False
    if found.missing != waiting.missing:
        write_waiting(layout, describe_waiting(waiting.round, people, log.read(), found, waiting.url))
    return found.reached


def describe_waiting(
    number: int, people: PeopleConfig, log: RoundLog, tally: AnswerCounts, url: str
) -> Waiting:
    """What round `number` waits for."""
    assert log.asked_at is not None and log.dataset is not None, "it was asked"
    deadline = find_deadline(people, log)
    return Waiting(
        round=number,
        dataset=log.dataset,
        url=url,
        needed=tally.needed,
        missing=tally.missing,
        asked_at=log.asked_at.isoformat(),
        deadline=deadline.isoformat() if deadline else None,
        sentence=f"round {number} waits for people{_until(people, deadline)}: {tally.missing} of "
        f"{tally.needed} answers are missing, label at {url}",
    )


def _until(people: PeopleConfig, deadline: datetime | None) -> str:
    if deadline is None:
        return ""
    # With another fallback the waiting is over at the deadline.
    word = "beyond" if people.at_deadline == "wait" and deadline <= datetime.now(UTC) else "until"
    return f", {word} {deadline:%Y-%m-%d %H:%M} UTC"


def find_deadline(people: PeopleConfig, log: RoundLog) -> datetime | None:
    if people.deadline_hours is None or log.asked_at is None:
        return None
    return log.asked_at + timedelta(hours=people.deadline_hours)


def is_past_deadline(people: PeopleConfig, log: RoundLog, now: datetime) -> bool:
    deadline = find_deadline(people, log)
    return deadline is not None and now >= deadline


def server_access(people: PeopleConfig) -> Access:
    """The label server of a campaign. Raises BadInput when none was ever named."""
    return find_access(Path(people.server_dir) if people.server_dir else DEFAULT_FOLDER)


def _looked_at(people: PeopleConfig, log: LabelLog) -> AnswerCounts:
    """How far the round is answered now. Raises RatchetError where the server does not answer."""
    from labeling.people.argilla_http import IMPATIENT
    from labeling.people.argilla_queue import ArgillaQueue
    from labeling.people.asking import collect

    known = log.read()
    found = _tally(people, known)
    if found.reached or known.dataset is None:
        return found
    with ArgillaQueue(server_access(people), people.workspace, IMPATIENT) as queue:
        dataset = queue.find(known.dataset)
        if dataset is not None and needs_reading(people, known, queue.progress(dataset)):
            collect(queue, dataset, log, lambda done, total, unit: None)
    return _tally(people, log.read())


def needs_reading(people: PeopleConfig, log: RoundLog, counts: Mapping[str, Any]) -> bool:
    """Whether the records may hold what the log does not; counts: those of the server."""
    kinds = [
        user.get(status, {}) for user in counts["users"] for status in ("completed", "pending")
    ]
    discarded = sum(kind.get("discarded", 0) for kind in kinds)
    if counts["total"] <= _FEW:
        submitted = sum(kind.get("submitted", 0) for kind in kinds)
        return bool(submitted + discarded != len(latest(log.answers.values())))
    # The server calls complete what was submitted often enough; a discarded record may be answered
    # too, and so may one that is gone.
    gone = max(0, len(log.planned) - counts["total"])
    return bool(counts["completed"] + discarded + gone >= _tally(people, log).wanted)


def _tally(people: PeopleConfig, log: RoundLog) -> AnswerCounts:
    answers = latest(log.answers.values())
    return tally(log.planned, answers, people.min_submitted, people.quorum)
