"""A campaign that waits for people: what it waits for, and whether it can resume.

Nothing runs meanwhile: the state is in `waiting.json` and on the label server.
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, read_waiting, write_waiting
from dpo_core.errors import RatchetError
from flows.config import CampaignConfig
from labeling.judges.config import asks_people
from labeling.people.answers import AnswerCounts, count_answers, latest_answers
from labeling.people.config import PeopleConfig
from labeling.people.label_queue import QueueCounts, SharedAgreement
from labeling.people.log import LabelLog, RoundLog
from labeling.server import Access, find_access

_FEW = 1000
"""Records that are read in a second or two; more are read only when it may pay."""


def can_resume(layout: Layout, config: CampaignConfig) -> bool:
    """Whether `ratchet run` would resume now: the quorum is reached, or the deadline has passed.

    False while the server does not answer. Answers read on the way are kept.
    """
    waiting = read_waiting(layout)
    if waiting is None:
        return True
    if waiting.question is not None:
        return False  # an answer removes waiting.json
    people, log = config.people_config, LabelLog(layout.labels(waiting.round))
    if people.at_deadline != "wait" and is_past_deadline(people, log.read(), datetime.now(UTC)):
        return True
    try:
        counts = _update_counts(people, log)
    except RatchetError:
        return False
    if counts.missing != waiting.missing:
        write_waiting(
            layout, describe_waiting(waiting.round, people, log.read(), counts, waiting.url)
        )
    return counts.reached


def describe_waiting(
    number: int, people: PeopleConfig, log: RoundLog, tally: AnswerCounts, url: str
) -> Waiting:
    """What round `number` waits for."""
    assert log.asked_at is not None and log.dataset is not None, "pairs were pushed"
    deadline = find_deadline(people, log)
    return Waiting(
        round=number,
        dataset=log.dataset,
        url=url,
        needed=tally.needed,
        missing=tally.missing,
        asked_at=log.asked_at.isoformat(),
        deadline=deadline.isoformat() if deadline else None,
        sentence=f"round {number} waits for labels{_until(people, deadline)}: "
        f"{tally.needed - tally.missing} of {tally.needed} answers received; label at {url}",
    )


def _until(people: PeopleConfig, deadline: datetime | None) -> str:
    if deadline is None:
        return ""
    # Other fallbacks end the wait at the deadline.
    word = "beyond" if people.at_deadline == "wait" and deadline <= datetime.now(UTC) else "until"
    return f", {word} {deadline:%Y-%m-%d %H:%M} UTC"


def find_deadline(people: PeopleConfig, log: RoundLog) -> datetime | None:
    if people.deadline_hours is None or log.asked_at is None:
        return None
    return log.asked_at + timedelta(hours=people.deadline_hours)


def is_past_deadline(people: PeopleConfig, log: RoundLog, now: datetime) -> bool:
    deadline = find_deadline(people, log)
    return deadline is not None and now >= deadline


def find_queue(layout: Layout, campaign: str) -> str:
    """Id of the campaign's lasting queue, where people find what every round asks.

    Before any round has asked it is a new one, random in part, since campaigns may share a name.
    """
    origin = read_origin(layout)
    inherited = origin.round if origin is not None else 0  # a branch's parent has its own queue
    for number in layout.round_numbers():
        queue = LabelLog(layout.labels(number)).read().queue if number > inherited else None
        if queue is not None:
            return queue
    return f"{campaign}-{secrets.token_hex(3)}"


def close_queue(
    people: PeopleConfig,
    log: RoundLog,
    agreement: Mapping[str, SharedAgreement] | None = None,
    *,
    campaign: bool = False,
) -> None:
    """Tell people that a round needs no more answers; campaign: and that no round follows;
    agreement: and each of these names how they did.

    A label server that does not answer keeps nobody from going on.
    """
    from labeling.people.argilla_http import IMPATIENT
    from labeling.people.argilla_queue import ArgillaQueue

    if log.dataset is None:
        return
    with (
        suppress(RatchetError),
        ArgillaQueue(server_access(people), people.workspace, IMPATIENT) as queue,
    ):
        dataset = queue.find(log.dataset)
        if dataset is not None:
            queue.close(dataset, campaign=campaign)
            if agreement is not None:
                queue.show_agreement(dataset, agreement)


def close_last_queue(layout: Layout, config: CampaignConfig) -> None:
    """Tell people that the campaign has ended."""
    if asks_people(config.judge):
        logs = [path for n in layout.round_numbers() if (path := layout.labels(n)).exists()]
        if logs:
            close_queue(config.people_config, LabelLog(logs[-1]).read(), campaign=True)


def server_access(people: PeopleConfig) -> Access:
    """The campaign's label server. Raises BadInput when none was ever named."""
    return find_access(people.server_folder)


def _update_counts(people: PeopleConfig, log: LabelLog) -> AnswerCounts:
    """Read new answers from the server and count. Raises RatchetError if it does not answer."""
    from labeling.people.argilla_http import IMPATIENT
    from labeling.people.argilla_queue import ArgillaQueue
    from labeling.people.asking import collect

    known = log.read()
    counts = _tally(people, known)
    if counts.reached or known.dataset is None:
        return counts
    with ArgillaQueue(server_access(people), people.workspace, IMPATIENT) as queue:
        dataset = queue.find(known.dataset)
        if dataset is not None and needs_reading(people, known, queue.progress(dataset)):
            collect(queue, dataset, log, lambda done, total, unit: None)
    return _tally(people, log.read())


def needs_reading(people: PeopleConfig, log: RoundLog, counts: QueueCounts) -> bool:
    """Whether the server's records, by its `counts`, may hold answers that the log does not."""
    if counts.total <= _FEW:
        answered = len(latest_answers(log.answers.values()))
        return counts.submitted + counts.discarded != answered
    # The server completes what was submitted often enough. Discarded and deleted records may have
    # been answered as well.
    deleted = max(0, len(log.planned) - counts.total)
    return counts.completed + counts.discarded + deleted >= _tally(people, log).wanted


def _tally(people: PeopleConfig, log: RoundLog) -> AnswerCounts:
    answers = latest_answers(log.answers.values())
    return count_answers(log.planned, answers, people.min_submitted, people.quorum)
