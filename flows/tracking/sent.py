"""What trackers were told already: their runs' ids, kept in the campaign's folder."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpo_core.atomic import write_json


@dataclass
class SentTo:
    """What one tracker has. place: where it keeps it; another place has nothing yet.

    run: the campaign's; rounds: key → run; files: name → hash; finished: whether it was told so.
    """

    place: str = ""
    run: str | None = None
    rounds: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    finished: bool | None = None


class Sent:
    """The file of a campaign; `identity` names the campaign wherever it is told of.

    It is written before anything is sent, so that a run that nobody remembers is found again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.identity: str = found.get("identity") or secrets.token_hex(4)
        self._trackers = {name: SentTo(**told) for name, told in found.get("trackers", {}).items()}
        self.save()

    def to(self, tracker: str, place: str) -> SentTo:
        """What `tracker` has at `place`."""
        if self._trackers.get(tracker, SentTo()).place != place:
            self._trackers[tracker] = SentTo(place)
        return self._trackers[tracker]

    def save(self) -> None:
        trackers = {name: asdict(told) for name, told in self._trackers.items()}
        write_json(self._path, {"identity": self.identity, "trackers": trackers})
