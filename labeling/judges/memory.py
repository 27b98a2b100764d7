"""Replies of language models, remembered by content: what was paid for once is not asked again."""

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
    """A file of replies. Replies are JSON: reading one runs no code."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, keys: Sequence[str]) -> dict[str, Reply]:
        """Those of `keys` that are remembered."""
        found: dict[str, Reply] = {}
        with closing(self._open()) as database:
            for key in dict.fromkeys(keys):
                row = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = _from_json(row[0])
        return found

    def put(self, key: str, reply: Reply) -> None:
        with closing(self._open()) as database, database:
            values = (key, json.dumps(asdict(reply), ensure_ascii=False))
            database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", values)

    def count(self) -> int:
        """How many replies are remembered."""
        with closing(self._open()) as database:
            found: int = database.execute("SELECT count(*) FROM replies").fetchone()[0]
        return found

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
        # A reply lost with the power is asked again; a file that syncs each one is slow.
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT)")
        return database


def reply_key(question: Question, asked_of: Mapping[str, object]) -> str:
    """Everything that decides a reply: the words, what of them is data, the choices, the model."""
    parts = [[part.text, part.data] for part in question.parts]
    return digest("reply", parts, list(question.choices), dict(asked_of))


def _from_json(text: str) -> Reply:
    found = json.loads(text)
    return Reply(**{**found, "cost": Cost(**found["cost"])})
