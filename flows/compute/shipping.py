"""A job's files, for machines that do not see the campaign's folder. Imports no Ray.

What a job reads is put into the campaign's bucket by its hash, where the next step of the campaign
finds it already there; a node fetches it into its cache, once. What a job writes comes back from
the node in parts.
"""

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_core.errors import DiskFull
from dpo_core.file_lock import hold
from dpo_core.hashing import content_id
from dpo_core.jobs import ChildJob, JobRequest
from dpo_core.seen_files import cached_sha256
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import open_objects

_PART = 8 << 20
_SPARE = 1 << 30
"""Bytes that a node's disk keeps free beside its cache."""
_PATIENCE_S = 3600.0
_ARRIVING = ".arriving"


@dataclass(frozen=True)
class StoredFile:
    """A file in the bucket."""

    sha256: str
    size: int


@dataclass(frozen=True)
class NodeCache:
    """Where nodes keep the files of a campaign. url: of its bucket. campaign: known to it alone."""

    url: str
    folder: Path
    campaign: str

    @property
    def root(self) -> Path:
        """Where the campaign's folder is on a node, as far as jobs there need it."""
        return self.folder / "campaigns" / self.campaign


@dataclass(frozen=True)
class Shipment:
    """The files of a job by their paths below the campaign's folder: those that it reads, and those
    that it writes, of which some may be folders."""

    reads: Mapping[str, StoredFile]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class FilePart:
    """A part of a file that a job wrote; `path` as in Shipment. number: from 0."""

    path: str
    number: int
    content: bytes
    last: bool


@dataclass(frozen=True)
class LogPart:
    """What a child wrote into its log on its node."""

    content: bytes


# ── where the campaign runs ──────────────────────────────────────────────────────────────────────


class Shipper:
    """Packs jobs of the campaign in `root` for nodes."""

    def __init__(self, url: str, cache: Path, root: Path) -> None:
        self.cache = NodeCache(url, cache, content_id(url, str(root.absolute()))[:16])
        self._root = root.absolute()
        self._bucket: Bucket | None = None
        self._stored: set[str] = set()
        self._lock = threading.Lock()

    def pack(self, job: ChildJob[Any]) -> Shipment:
        """Put into the bucket what a job reads and the bucket lacks. Paths elsewhere, such as a
        user's model, are the nodes' own."""
        within = job.within(self._root)
        reads: dict[str, StoredFile] = {}
        writes: list[str] = []
        for name, path in within:
            if not isinstance(path, Path) or path.is_absolute() or name in job.stays:
                continue
            if name in job.writes:
                writes.append(path.as_posix())
            else:
                reads |= {file.as_posix(): self._store(file) for file in self._files(path)}
        return Shipment(reads, tuple(writes))

    def _files(self, path: Path) -> Iterator[Path]:
        whole = self._root / path
        if not whole.is_dir():
            yield path
            return
        for file in sorted(whole.rglob("*")):
            if file.is_file():
                yield file.relative_to(self._root)

    def _store(self, file: Path) -> StoredFile:
        path = self._root / file
        digest = cached_sha256(path)
        with self._lock:  # engines need the same files at the same time
            if digest not in self._stored:
                if self._bucket is None:
                    self._bucket = Bucket(open_objects(self.cache.url, make=True), self.cache.url)
                self._bucket.upload(path, digest)
                self._stored.add(digest)
        return StoredFile(digest, path.stat().st_size)

    def receive(self, part: FilePart) -> None:
        """Write a part that came back; the file has its name once it is whole."""
        path = self._root / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = path.with_name(path.name + _ARRIVING)
        with arriving.open("ab" if part.number else "wb") as file:
            file.write(part.content)
        if part.last:
            os.replace(arriving, path)


# ── on a node ────────────────────────────────────────────────────────────────────────────────────


def unpack(cache: NodeCache, shipment: Shipment, request: JobRequest) -> JobRequest:
    """Fetch what the job reads and the cache lacks. Returns the request as it is to be carried out
    here."""
    blobs = cache.folder / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    needed = {file.sha256 for file in shipment.reads.values()}
    with hold(blobs / "lock", lambda _: TimeoutError("the cache is held"), patience_s=_PATIENCE_S):
        for file in shipment.reads.values():
            _fetch(cache, file, needed)
    for name, file in shipment.reads.items():
        _link(cache.root / name, blobs / file.sha256)
    for name in shipment.writes:
        (cache.root / name).parent.mkdir(parents=True, exist_ok=True)
    return JobRequest(root=str(cache.root), job=request["job"])


def _link(link: Path, blob: Path) -> None:
    """Another process may be reading it."""
    if link.is_symlink() and link.readlink() == blob:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    new = link.with_name(f"{link.name}.{os.getpid()}")
    new.symlink_to(blob)
    os.replace(new, link)


def _fetch(cache: NodeCache, file: StoredFile, needed: set[str]) -> None:
    blob = cache.folder / "blobs" / file.sha256
    if blob.is_file():
        os.utime(blob)
        return
    _make_room(blob.parent, file.size + _SPARE, needed)
    Bucket(open_objects(cache.url), cache.url).fetch(file.sha256, blob)


def _make_room(blobs: Path, size: int, needed: set[str]) -> None:
    """Remove the files that were not used for longest, until there is room for so many bytes."""
    unused = [file for file in blobs.iterdir() if file.name not in needed and file.name != "lock"]
    unused.sort(key=lambda file: file.stat().st_mtime)
    while shutil.disk_usage(blobs).free < size:
        if not unused:
            raise DiskFull(
                f"compute.cache_dir {blobs.parent} has no room for {size / 2**30:.1f} GiB",
                "Name a folder on a larger disk of the nodes.",
            )
        unused.pop(0).unlink()


def send_back(cache: NodeCache, shipment: Shipment) -> Iterator[FilePart]:
    """What the job wrote, which is then removed here."""
    for name in shipment.writes:
        written = cache.root / name
        files = sorted(written.rglob("*")) if written.is_dir() else [written]
        for file in files:
            if file.is_file():
                yield from _parts(file, file.relative_to(cache.root).as_posix())
        if written.is_dir():
            shutil.rmtree(written)
        else:
            written.unlink(missing_ok=True)


def _parts(file: Path, name: str) -> Iterator[FilePart]:
    left, number = file.stat().st_size, 0
    with file.open("rb") as content:
        while True:
            part = content.read(_PART)
            left -= len(part)
            yield FilePart(name, number, part, last=left <= 0)
            number += 1
            if left <= 0:
                return
