"""The ledger: an append-only file, one JSON line per finished step, the truth about a campaign."""

import getpass
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core import json_lines
from dpo_core.errors import ArtifactCorrupted

_REMEDY = "Restore the ledger from a backup, or remove that line to make its step run again."


@dataclass(frozen=True)
class Entry:
    """One finished step.

    `inputs` and `outputs` map names to content hashes; `dropped` maps reasons to counts, so that
    came_in = kept + sum(dropped) where the unit of a step stays the same. `facts` are the numbers
    that the step reports. `seconds` and `at` are volatile. `ratchet`: the version that made it,
    empty where it did not say; `identity`: how it named what a step depends on.
    """

    round: int
    step: str
    fingerprint: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    came_in: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    seconds: float = 0.0
    at: str = ""
    ratchet: str = ""
    identity: int = 1


def now() -> str:
    """This moment, as entries name it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def current_user() -> str:
    """Who acts, as the ledger names them: `user@host`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return f"unknown@{socket.gethostname()}"


class Ledger:
    """The file of entries: read whole, and only ever added to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Entry]:
        """All entries, oldest first. A torn last line (a crash while writing) is left out.

        Raises ArtifactCorrupted for a line that is not as it was written.
        """
        lines = json_lines.read(self.path, _REMEDY)
        return [self._parse(value, number) for number, value in lines]

    def append(self, entry: Entry) -> None:
        """Add one line and flush it to disk; a torn line before it is cut off first."""
        self.extend([entry])

    def extend(self, entries: Iterable[Entry]) -> None:
        """`append` for several."""
        json_lines.append(self.path, map(asdict, entries))

    def _parse(self, value: Mapping[str, Any], number: int) -> Entry:
        try:
            return Entry(**value)
        except TypeError:
            raise ArtifactCorrupted(
                f"{self.path} line {number} is not a ledger entry", _REMEDY
            ) from None
