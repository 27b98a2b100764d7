"""Files that grow while a campaign runs, as a running campaign takes them to its bucket."""

import os
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.storage.bucket import Bucket

_SETTLED_NS = 2 * 10**9


class GrowingFiles:
    """Remembers what it uploaded, by each file's size and times."""

    def __init__(self, layout: Layout, bucket: Bucket) -> None:
        self._layout = layout
        self._bucket = bucket
        self._seen: dict[Path, tuple[tuple[int, ...], str]] = {}

    def upload(self, paths: list[Path]) -> dict[str, str]:
        """Path in the campaign → sha256, of files that grow."""
        uploaded: dict[str, str] = {}
        for path in paths:
            with suppress(FileNotFoundError):  # waiting.json goes when nobody is waited for
                name = path.relative_to(self._layout.root).as_posix()
                uploaded[name] = self._upload(path)
        return uploaded

    def _upload(self, path: Path) -> str:
        stat = os.stat(path)
        identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        settled = time.time_ns() - stat.st_mtime_ns > _SETTLED_NS
        if path in self._seen and self._seen[path][0] == identity and settled:
            return self._seen[path][1]
        content = _snapshot(path)
        digest = sha256(content).hexdigest()
        self._bucket.upload(content, digest)
        self._seen[path] = identity, digest
        return digest


def _snapshot(path: Path) -> bytes:
    """The file's contents; of a log without the line that is just being written."""
    if path.suffix == ".sqlite":
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            with (
                closing(sqlite3.connect(path, timeout=60)) as database,
                closing(sqlite3.connect(copy)) as snapshot,
            ):
                database.backup(snapshot)
            return copy.read_bytes()
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1] if path.suffix == ".jsonl" else content
