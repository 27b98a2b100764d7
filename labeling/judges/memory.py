"""Remembers replies of language models by content, so that none is paid for twice."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from dpo_core.hashing import digest
from dpo_core.records import Cost
from labeling.judges.questions import Question, Reply

_BUSY_TIMEOUT_S = 60.0


class ReplyMemory:
    """An SQLite file of replies, stored as JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, keys: Sequence[str]) -> dict[str, Reply]:
        """key → reply, for those of `keys` that are remembered."""
        replies: dict[str, Reply] = {}
        with closing(self._open()) as database:
            for key in dict.fromkeys(keys):
                row = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    replies[key] = _from_json(row[0])
        return replies

    def put(self, key: str, reply: Reply) -> None:
        with closing(self._open()) as database, database:
            values = (key, json.dumps(asdict(reply), ensure_ascii=False))
            database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", values)

    def count(self) -> int:
        """Number of remembered replies."""
        with closing(self._open()) as database:
            count: int = database.execute("SELECT count(*) FROM replies").fetchone()[0]
        return count

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
        # A reply lost in a power failure is asked again; syncing every reply is slow.
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)")
        return database


def reply_key(question: Question, asked_of: Mapping[str, object]) -> str:
    """Hash of everything that decides a reply: texts, which of them are data, choices, model."""
    parts = [[part.text, part.data] for part in question.parts]
    return digest("reply", parts, list(question.choices), dict(asked_of))


def _from_json(text: str) -> Reply:
    fields = json.loads(text)
    return Reply(**{**fields, "cost": Cost(**fields["cost"])})
