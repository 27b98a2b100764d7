"""The ledger: an append-only file, one JSON line per finished step, the truth about a campaign."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpo_core.errors import ArtifactCorrupted


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


class Ledger:
    """The file of entries: read whole, and only ever added to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Entry]:
        """All entries, oldest first. A torn last line (a crash while writing) is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        entries = [self._parse(line, number) for number, line in enumerate(lines[:-1], 1) if line]
        return entries

    def append(self, entry: Entry) -> None:
        """Add one line and flush it to disk; a torn line before it is cut off first."""
        self.extend([entry])

    def extend(self, entries: Iterable[Entry]) -> None:
        """`append` for several."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            self._cut_torn_line(file.fileno())
            for entry in entries:
                file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _cut_torn_line(self, fd: int) -> None:
        content = self.path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.ftruncate(fd, content.rfind(b"\n") + 1)

    def _parse(self, line: str, number: int) -> Entry:
        try:
            return Entry(**json.loads(line))
        except (ValueError, TypeError):
            raise ArtifactCorrupted(
                f"{self.path} line {number} is not a ledger entry",
                "Restore the ledger from a backup, or remove that line to make its step run again.",
            ) from None
