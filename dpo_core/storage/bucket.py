"""A campaign's bucket: leases, segments and blobs, with attempts repeated while that may help."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from dpo_core.atomic import write_atomic
from dpo_core.errors import ArtifactCorrupted, CampaignLocked, StorageFailed
from dpo_core.storage.objects import Objects, open_objects
from dpo_core.storage.rules import (
    BLOBS,
    LEASES,
    SEGMENTS,
    Lease,
    LedgerSegment,
    Standing,
    blob_key,
    counted,
    elsewhere_key,
    encode,
    lease_key,
    lease_standing,
    meaning,
    numbers,
    read_lease,
    read_segment,
    segment_key,
)

T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a store may not answer before a run stops."""
_READ_AT_ONCE = 16
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.05, 5.0


@dataclass(frozen=True)
class LedgerHistory:
    """All segments that count. number: of the last one in the bucket, counted or not."""

    segments: Sequence[LedgerSegment] = ()
    number: int = 0


class Bucket:
    """say: told once what a store answers that is tried again for longer than some seconds."""

    def __init__(
        self,
        objects: Objects,
        url: str,
        *,
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.url = url
        self._objects = objects
        self._patience_s = patience_s
        self.say = say

    # Segments

    def history(self) -> LedgerHistory:
        """What the bucket says."""
        there = numbers(self._try(lambda: self._objects.names(SEGMENTS)))
        keys = [segment_key(number) for number in there]
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            contents = pool.map(self._read, keys)
            segments = [read_segment(*each) for each in zip(contents, keys, strict=True)]
        return LedgerHistory(counted(segments), there[-1] if there else 0)

    def read_file(self, name: str) -> str | None:
        """The text of a file that grows, as the last segment has it; None for none."""
        last = numbers(self._try(lambda: self._objects.names(SEGMENTS)))[-1:]
        if not last:
            return None
        key = segment_key(last[0])
        digest = read_segment(self._read(key), key).files.get(name)
        return None if digest is None else self._read(blob_key(digest)).decode("utf-8")

    def append(self, number: int, segment: LedgerSegment) -> bool:
        """Create the segment of that number; False where another process has."""
        return self._create(segment_key(number), encode(segment)) == "mine"

    # Leases

    def newest_lease(self) -> Lease | None:
        epochs = numbers(self._try(lambda: self._objects.names(LEASES)))
        if not epochs:
            return None
        key = lease_key(epochs[-1])
        return read_lease(self._read(key), key)

    def take(self, lease_s: float, dead: str | None, wait: Callable[[float], object]) -> Lease:
        """A new lease, of this process. dead: as in `lease_standing`.

        Raises CampaignLocked while the holder of the last one renews it.
        """
        first = now = self.newest_lease()
        began = time.monotonic()
        told = False
        while True:
            standing = lease_standing(first, now, time.monotonic() - began, lease_s, dead)
            if standing == "held":
                raise self._held(now)
            if standing == "free":
                break
            if not told and now is not None:
                told = True
                self.say(
                    f"{now.host} ran this campaign and did not end well; looking for up to "
                    f"{lease_s:g} s whether it still does"
                )
            wait(min(1.0, lease_s / 10))
            now = self.newest_lease()
        epoch = now.epoch + 1 if now is not None else 1
        mine = Lease(epoch, secrets.token_hex(16), socket.gethostname(), os.getpid())
        if self._create(lease_key(epoch), encode(mine)) != "mine":
            raise self._held(self.newest_lease())
        return mine

    def renew(self, lease: Lease) -> tuple[Lease, Lease | None]:
        """The lease renewed, and that of another process which took the campaign over, if any.
        Tries once."""
        lease = replace(lease, renewed=lease.renewed + 1)
        self._objects.put(lease_key(lease.epoch), encode(lease))
        later = numbers(self._objects.names(LEASES))[-1:]
        if not later or later[0] <= lease.epoch:
            return lease, None
        content = self._objects.get(lease_key(later[0]))
        return lease, read_lease(content, lease_key(later[0])) if content is not None else None

    def release(self, lease: Lease) -> None:
        """Let another machine go on at once. Tries once."""
        self._objects.put(lease_key(lease.epoch), encode(replace(lease, released=True)))

    def _held(self, by: Lease | None) -> CampaignLocked:
        who = f"process {by.pid} on {by.host}" if by is not None else "another process"
        return CampaignLocked(
            f"the campaign in {self.url} is being run by {who}",
            "Wait for it, or stop it there; a machine that is gone frees it after storage.lease_s "
            "seconds.",
        )

    # Blobs

    def has_blob(self, digest: str, folder: str = BLOBS) -> bool:
        keys = [blob_key(digest, folder), *([elsewhere_key(digest)] if folder == BLOBS else [])]
        return any(self._size(key) is not None for key in keys)

    def upload(self, content: bytes | Path, digest: str, folder: str = BLOBS) -> bool:
        """Put a blob there unless it is; whether it was not."""
        if self.has_blob(digest, folder):
            return False
        self._try(lambda: self._objects.put(blob_key(digest, folder), content))
        return True

    def share(self, digest: str, other: "Bucket") -> bool:
        """Say that `other`, of the campaign that this one branches from, has the blob; False where
        it has not."""
        if self.has_blob(digest):
            return True
        if not other.has_blob(digest):
            return False
        self._try(lambda: self._objects.put(elsewhere_key(digest), other.url.encode()))
        return True

    def fetch(self, digest: str, path: Path, folder: str = BLOBS) -> int:
        """Write the blob to a file, whole and right or not at all; its bytes."""
        key = blob_key(digest, folder)
        size = self._size(key)
        if size is None and (url := self._try(lambda: self._objects.get(elsewhere_key(digest)))):
            return self._other(url.decode()).fetch(digest, path)
        if size is None:
            raise ArtifactCorrupted(
                f"{path.name} is not in {self.url}: there is no {folder}/{digest[:16]}…",
                "Restore that object from a backup of the bucket.",
            )

        def write(temporary: Path) -> None:
            found = sha256()
            with temporary.open("wb") as file:
                for chunk in self._objects.chunks(key, size):
                    found.update(chunk)
                    file.write(chunk)
            if found.hexdigest() != digest:
                raise ArtifactCorrupted(
                    f"{folder}/{digest[:16]}… in {self.url} is damaged: its sha256 is "
                    f"{found.hexdigest()[:16]}…",
                    "Restore that object from a backup of the bucket.",
                )

        self._try(lambda: write_atomic(path, write))
        return size

    def _size(self, key: str) -> int | None:
        return self._try(lambda: self._objects.size(key))

    def _other(self, url: str) -> "Bucket":
        return Bucket(open_objects(url), url, patience_s=self._patience_s, say=self.say)

    # Attempts

    def _create(self, key: str, content: bytes) -> Standing:
        """Create an object; after any answer but success, read back what it meant."""

        def attempt() -> Standing:
            try:
                self._objects.create(key, content)
                return "mine"
            except StorageFailed as error:
                found = meaning(self._objects.get(key), content)
                if found == "absent":
                    raise error from None
                return found

        return self._try(attempt)

    def _read(self, key: str) -> bytes:
        content = self._try(lambda: self._objects.get(key))
        if content is None:
            raise StorageFailed(
                f"{key} is gone from {self.url}", "Restore it from a backup of the bucket."
            )
        return content

    def _try(self, attempt: Callable[[], T]) -> T:
        began, delay, told = time.monotonic(), _FIRST_DELAY_S, False
        while True:
            try:
                return attempt()
            except StorageFailed as error:
                waited = time.monotonic() - began
                if error.lasting or waited + delay > self._patience_s:
                    raise
                if delay >= _LONGEST_DELAY_S and not told:
                    told = True
                    self.say(f"storage: {error.message}; trying again")
                time.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY_S)
