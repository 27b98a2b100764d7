"""Hashes of a user's files, remembered: a model of many gigabytes is read once, not at each run."""

import json
import time
from contextlib import suppress
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.hashing import file_sha256

_RECENT_S = 2.0
"""A file that was written so shortly before may be written again within one tick of its clock."""


class FileHashes:
    """path → sha256, kept in a file of the campaign for as long as nothing about the file moves:
    size, inode, and the times of its contents and of its inode, which nobody can set back."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, list[object]] = {}
        with suppress(OSError, ValueError):  # not there, or damaged: then all is read again
            self._known = dict(json.loads(memory.read_text(encoding="utf-8")))

    def __call__(self, path: Path) -> str:
        """SHA-256 of the file's contents, 64 hex characters."""
        name, seen = str(path.resolve()), path.stat()
        state = [seen.st_size, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns]
        known = self._known.get(name)
        if known is not None and known[:-1] == state:
            return str(known[-1])
        found = file_sha256(path)
        if time.time() - seen.st_ctime > _RECENT_S:
            self._known[name] = [*state, found]
            write_json(self._memory, self._known)
        return found
