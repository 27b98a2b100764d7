"""The log of one round's labelling: append-only JSON lines, the source of truth for labels.

Argilla loses an answer when its record, dataset or annotator is removed; the log does not. Several
processes may write at once: lines are appended whole, and a version that is logged twice is read
once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core import json_lines
from dpo_core.errors import ArtifactCorrupted
from labeling.people.answers import DRAFT, SubmittedAnswer
from labeling.people.task import RecordMetadata

_REMEDY = (
    "Restore the log from a backup; or remove that line, and `ratchet labels pull` reads again "
    "what Argilla still has."
)


@dataclass
class RoundLog:
    """The state that a round's log describes.

    dataset: name in Argilla. questions: hash of the dataset's unchangeable settings. queue: id of
    the campaign's queue. continuation: the dataset's prompts are texts to continue. planned: ids of
    the records asked now, since `asked_at`. plan: hash of what decided them. asked: every record
    ever asked. answers: every version of every answer. pulls: number of pulls of late answers.
    """

    dataset: str | None = None
    questions: str | None = None
    queue: str | None = None
    continuation: bool = False
    asked_at: datetime | None = None
    asked: dict[str, RecordMetadata] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    plan: str | None = None
    answers: dict[tuple[str, str], SubmittedAnswer] = field(default_factory=dict)
    pulls: int = 0


class LabelLog:
    """Reads and appends; the first line creates the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> RoundLog:
        """The state after all lines; skips a torn line from a crash.

        Raises ArtifactCorrupted for a line that cannot be read.
        """
        log = RoundLog()
        for number, event in json_lines.read(self.path, _REMEDY, torn_before=True):
            try:
                _apply(log, event)
            except (KeyError, TypeError, ValueError) as error:
                raise ArtifactCorrupted(
                    f"{self.path} line {number} is not a line of a label log: {error}", _REMEDY
                ) from None
        return log

    def log_opened(
        self, dataset: str, questions: str, queue: str, *, continuation: bool = False
    ) -> None:
        facts = {"dataset": dataset, "questions": questions, "queue": queue}
        self._append([{"event": "opened", **facts, "continuation": continuation}])

    def log_asked(self, records: Iterable[RecordMetadata]) -> None:
        """Call before pushing the records, so that every answer finds its record."""
        self._append({"event": "asked", **asdict(record)} for record in records)

    def log_planned(self, record_ids: Iterable[str], plan: str) -> None:
        self._append([{"event": "planned", "records": list(record_ids), "plan": plan}])

    def log_pulled(self) -> None:
        self._append([{"event": "pulled"}])

    def add(
        self, answers: Iterable[SubmittedAnswer], known: Mapping[tuple[str, str], SubmittedAnswer]
    ) -> int:
        """Append the versions that are not `known`; returns their number.

        A draft is written only if it withdraws an answer.
        """
        before = {label_id for label_id, _ in known}
        new = [
            answer
            for answer in answers
            if answer.version not in known and (answer.status != DRAFT or answer.label_id in before)
        ]
        self._append({"event": "answer", **asdict(answer)} for answer in new)
        return len(new)

    def _append(self, events: Iterable[Mapping[str, object]]) -> None:
        at = {"logged_at": datetime.now(UTC).isoformat(timespec="seconds")}
        json_lines.append(self.path, ({**event, **at} for event in events))


def _apply(log: RoundLog, event: Mapping[str, Any]) -> None:
    values = {k: v for k, v in event.items() if k not in ("event", "logged_at")}
    match event["event"]:
        case "opened":
            log.dataset, log.questions = values["dataset"], values["questions"]
            # Earlier versions named each dataset after its campaign and round, and knew no queue.
            log.queue = values.get("queue") or values["dataset"].partition("-round-")[0]
            log.continuation = values.get("continuation", False)
        case "asked":
            # A record keeps the metadata it was first pushed with.
            log.asked.setdefault(values["record_id"], RecordMetadata(**values))
        case "planned":
            # New records restart the deadline; a round may also have nothing to ask.
            if log.asked_at is None or values["records"] != log.planned:
                log.asked_at = datetime.fromisoformat(event["logged_at"])
            log.planned, log.plan = values["records"], values["plan"]
        case "answer":
            answer = SubmittedAnswer(**values)
            log.answers[answer.version] = answer
        case "pulled":
            log.pulls += 1
