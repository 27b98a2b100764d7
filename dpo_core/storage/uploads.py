"""What a running campaign writes, taken to its bucket in the background, in the ledger's order.

What is missing there follows from the disk alone: lines of the ledger after those in the bucket,
and files that grow. So nothing is forgotten after a crash, and steps wait for nothing. Each cycle
uploads the outputs of all new steps, then creates the segment with which they count.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger, now
from dpo_core.campaign.prunes import pruned
from dpo_core.campaign.remote import StoragePlace, read_place, write_place
from dpo_core.errors import ArtifactCorrupted, BadInput, RatchetError, StorageFailed, TakenOver
from dpo_core.seen_files import cached_sha256
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.checkpoints import CheckpointUploads
from dpo_core.storage.growing import GrowingFiles
from dpo_core.storage.objects import open_objects
from dpo_core.storage.restore import restore
from dpo_core.storage.rules import Lease, LedgerSegment, outputs_to_upload

_RENEWALS = 3
"""Per lease_s."""


class Uploads:
    """A campaign's folder and bucket, while this process holds both. A context manager.

    end: called, from another thread, with the error once the campaign was taken over or its store
    failed for good; steps that follow raise it in any case. checkpoints: those of training as well.
    shared: of the campaign that this one branches from.
    """

    def __init__(
        self,
        layout: Layout,
        bucket: Bucket,
        lease: Lease,
        lease_s: float,
        end: Callable[[RatchetError], object] = lambda error: None,
        checkpoints: bool = False,
        shared: Bucket | None = None,
    ) -> None:
        self._layout = layout
        self._shared = shared
        self._bucket = bucket
        self._lease = lease
        self._lease_s = lease_s
        self._end = end
        self._changed = threading.Condition()
        self._asked = self._done = 0
        self._stopped = False
        self._error: RatchetError | None = None
        self._over = threading.Event()
        self._growing = GrowingFiles(layout, bucket)
        self._place = self._seal()
        known = self._place.files if checkpoints else {}
        self._checkpoints = CheckpointUploads(layout, bucket, known)
        self._look_s = _LOOK_S if checkpoints else None
        self._threads = [
            threading.Thread(target=run, daemon=True, name=f"storage-{name}")
            for name, run in {"upload": self._upload, "renew": self._renew}.items()
        ]

    # For steps

    def check(self) -> None:
        """Raise what ended this process's hold on the campaign, if anything did; else have what was
        written until now uploaded."""
        with self._changed:
            if self._error is not None:
                raise self._error
            self._asked += 1
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return once all that is written now is in the bucket and nobody has taken it over; False
        where `timeout_s` is not enough. Raises TakenOver or StorageFailed."""
        self.check()
        with self._changed:
            asked = self._asked
            self._changed.wait_for(lambda: self._error or self._done >= asked, timeout_s)
            if self._error is not None:
                raise self._error
            if self._done < asked:
                return False
        self._confirm()
        return True

    def _confirm(self) -> None:
        """Raise TakenOver where another machine has the campaign by now."""
        lease = self._bucket.newest_lease()
        if lease is not None and lease.epoch > self._lease.epoch:
            error = taken_over(self._bucket.url, lease, self._lease)
            self._fail(error)
            raise error

    @property
    def lag(self) -> int:
        """Lines of the ledger that are not in the bucket."""
        return len(Ledger(self._layout.ledger).read()) - self._place.entries

    def wait_for_steps(self) -> None:
        """As `wait`, for finished steps alone: what grows within a step is not uploaded."""
        if self.lag:
            self.wait()
        elif self._error is not None:
            raise self._error
        else:
            self._confirm()

    def __enter__(self) -> "Uploads":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Upload the rest and release the lease. After an interruption only what takes little
        time; the next run of this folder uploads the rest."""
        interrupted = kind is not None and not issubclass(kind, Exception)
        self._stopped = interrupted and self._look_s is not None
        patience_s = _PATIENCE_CHECKPOINT_S if self._stopped else _PATIENCE_INTERRUPTED_S
        try:
            if self._error is None:
                self.wait(patience_s if interrupted else None)
        except RatchetError as error:
            if kind is None:
                raise
            self._bucket.say(f"not all of the campaign is in its storage: {error.message}")
        finally:
            self._over.set()
            with self._changed:
                self._changed.notify_all()
            if self._error is None:
                with suppress(StorageFailed):
                    self._bucket.release(self._lease)

    # The fence

    def _seal(self) -> StoragePlace:
        """Bring the folder up to date, and create the segment after which nothing counts that an
        earlier holder writes."""
        while True:
            history = self._bucket.history()
            if any(segment.epoch > self._lease.epoch for segment in history.segments):
                raise self._taken_over()
            place = restore(self._layout, self._bucket, history)
            number = history.number + 1
            if self._append(number, LedgerSegment(0, "", "", (), place.files)):
                place = replace(
                    place,
                    epoch=self._lease.epoch,
                    nonce=self._lease.nonce,
                    segment=number,
                    at=now(),
                )
                write_place(self._layout, place)
                return place

    def _append(self, number: int, segment: LedgerSegment) -> bool:
        lease = self._lease
        owned = replace(segment, epoch=lease.epoch, nonce=lease.nonce, host=lease.host)
        return self._bucket.append(number, owned)

    def _taken_over(self) -> TakenOver:
        try:
            other = self._bucket.newest_lease()
        except StorageFailed:
            other = None
        return taken_over(self._bucket.url, other, self._lease)

    # Threads

    def _renew(self) -> None:
        lease = self._lease
        while not self._over.wait(self._lease_s / _RENEWALS):
            try:
                lease, other = self._bucket.renew(lease)
            except RatchetError:
                continue  # the uploads say it where it lasts
            self._lease = lease
            if other is not None:
                self._fail(taken_over(self._bucket.url, other, lease))
                return

    def _upload(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._wanted, self._look_s)
                if self._over.is_set():
                    return
                asked = self._asked
            try:
                if self._stopped:  # the machine may be about to go
                    self._checkpoints.upload(self._over.is_set)
                elif asked == self._done and not self._checkpoints.upload(self._wanted):
                    continue
                while self._cycle():
                    pass
            except RatchetError as error:
                return self._fail(error)
            except Exception as error:  # else whoever waits would wait for ever
                return self._fail(StorageFailed(f"uploading failed: {error!r}"))
            with self._changed:
                self._done = asked
                self._changed.notify_all()

    def _wanted(self) -> bool:
        return self._over.is_set() or self._asked > self._done

    def _fail(self, error: RatchetError) -> None:
        with self._changed:
            if self._error is not None:
                return
            self._error = error
            self._changed.notify_all()
        if not self._over.is_set():
            self._end(error)

    # One segment

    def _cycle(self) -> bool:
        """Upload what is new as one segment; whether there was anything."""
        # First what points to steps, then the steps, then what they may have read meanwhile.
        current = self._layout.current
        files = self._growing.upload([current] if current.is_file() else [])
        every = Ledger(self._layout.ledger).read()
        entries = every[self._place.entries :]
        if not self._upload_outputs(entries, pruned(every)):
            return True  # removed meanwhile: its entry says so now
        growing = [path for path in self._layout.growing() if path != current]
        files |= self._growing.upload(growing) | dict(self._checkpoints.files())
        if not entries and files == self._place.files:
            return False
        number = self._place.segment + 1
        if not self._append(number, LedgerSegment(0, "", "", tuple(entries), files)):
            raise self._taken_over()
        self._place = replace(
            self._place,
            segment=number,
            entries=self._place.entries + len(entries),
            files=files,
            at=now(),
        )
        write_place(self._layout, self._place)
        return True

    def _upload_outputs(self, entries: list[Entry], removed: Mapping[str, tuple[str, ...]]) -> bool:
        """False where an output was removed after `entries` were read."""
        for digest, (entry, name) in outputs_to_upload(entries, removed).items():
            folder = self._layout.step(entry.round, entry.step, entry.fingerprint)
            path = folder / name
            if self._is_shared(digest):
                continue
            try:
                if cached_sha256(path) != digest:
                    raise ArtifactCorrupted(
                        f"{path} is not what the ledger recorded",
                        f"Restore it from a backup; or move it away (mv {folder} {folder}.broken) "
                        "and `ratchet run` makes it again.",
                    )
                self._bucket.upload(path, digest)
            except FileNotFoundError:
                if self._removed_now(entry, name):
                    return False
                if not self._bucket.has_blob(digest):
                    raise ArtifactCorrupted(
                        f"{path} is gone, and {self._bucket.url} has it not yet",
                        f"Restore it from a backup; or move the rest away (mv {folder} "
                        f"{folder}.broken) and `ratchet run` makes it again.",
                    ) from None
        return True

    def _is_shared(self, digest: str) -> bool:
        if self._shared is None:
            return False
        try:
            return self._bucket.share(digest, self._shared)
        except RatchetError as error:  # its bytes are here as well
            self._bucket.say(f"storage: nothing is shared with {self._shared.url}: {error.message}")
            self._shared = None
            return False

    def _removed_now(self, entry: Entry, name: str) -> bool:
        removed = pruned(Ledger(self._layout.ledger).read())
        return name.startswith(removed.get(entry.fingerprint, ()) or ("\0",))


_PATIENCE_INTERRUPTED_S = 10.0
_PATIENCE_CHECKPOINT_S = 60.0
"""With what training saved when it was asked to stop."""
_PATIENCE_FIRST_S = 15.0
"""Before anything was written there: the URL may be wrong."""
_LOOK_S = 5.0
"""Between looks for a new checkpoint."""


@contextmanager
def stored(
    layout: Layout,
    bucket: Bucket,
    lease_s: float,
    end: Callable[[RatchetError], object] = lambda error: None,
    checkpoints: bool = False,
    shared: Bucket | None = None,
) -> Iterator[Uploads]:
    """Hold the campaign's bucket, and bring its folder, which is locked, up to date. Arguments as
    of Uploads.

    Raises CampaignLocked while another machine runs it, BadInput where both have parted.
    """
    place = read_place(layout)
    lease = bucket.take(lease_s, place.nonce if place is not None else None, time.sleep)
    try:
        uploads = Uploads(layout, bucket, lease, lease_s, end, checkpoints, shared)
    except BaseException:
        with suppress(StorageFailed):
            bucket.release(lease)
        raise
    with uploads:
        yield uploads


def read_stored_config(url: str) -> str | None:
    """The text of the newest campaign.yaml in the bucket at `url`; None where there is none.

    Raises BadInput where the bucket does not answer.
    """
    bucket = Bucket(open_objects(url), url, patience_s=_PATIENCE_FIRST_S)
    try:
        return bucket.read_file(Layout(Path()).config.name)
    except StorageFailed as error:
        raise BadInput(error.message, error.remedy) from None


def taken_over(url: str, by: Lease | None, mine: Lease) -> TakenOver:
    who = f"{by.host} (process {by.pid})" if by is not None and by != mine else "another machine"
    return TakenOver(
        f"the campaign in {url} was taken over by {who}",
        "This run has stopped, and what it did since does not count. Go on there; or, once that "
        "run has ended, type the same command again with an empty --campaign-dir.",
    )
