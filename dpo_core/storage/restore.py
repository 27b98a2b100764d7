"""A campaign's folder brought up to what its bucket says, without the outputs of its steps."""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from dpo_core.campaign.layout import MANIFEST, Layout, checkpoint_of
from dpo_core.campaign.ledger import Entry, Ledger, now
from dpo_core.campaign.prunes import pruned
from dpo_core.campaign.remote import StoragePlace, read_place, write_place
from dpo_core.errors import BadInput
from dpo_core.hashing import file_sha256
from dpo_core.sealed import seal, to_json
from dpo_core.storage.bucket import Bucket, LedgerHistory
from dpo_core.storage.checkpoints import fetch_checkpoints
from dpo_core.storage.rules import join, join_file


def stored_entries(history: LedgerHistory) -> list[Entry]:
    return [entry for segment in history.segments for entry in segment.entries]


def stored_files(history: LedgerHistory) -> Mapping[str, str]:
    return history.segments[-1].files if history.segments else {}


def restore(
    layout: Layout, bucket: Bucket, history: LedgerHistory, *, to_run: bool = True
) -> StoragePlace:
    """Let the folder know every step of the bucket; what it has in addition stays. to_run: fetch
    the checkpoint of a step that was being made.

    Safe to repeat after a crash. Raises BadInput, and then changes nothing, where folder and bucket
    have parted: both went on since they were last the same.
    """
    place = read_place(layout) or StoragePlace(bucket.url)
    check_same_place(layout, place, bucket.url)
    local, stored = Ledger(layout.ledger).read(), stored_entries(history)
    files = _choose(layout, place, history)
    joined = join(local, stored)
    if joined == "parted":
        raise _parted(layout, bucket.url, "its ledger has steps")
    write_place(layout, place)  # from now on, what is missing here is looked for there
    for name in sorted(files, key=_order):
        if name != layout.current.name:
            _place_file(layout, bucket, name, files[name])
    if joined == "behind":
        new = stored[len(local) :]
        _write_manifests(layout, new, pruned(stored))
        Ledger(layout.ledger).extend(new)
    if to_run:
        fetch_checkpoints(layout, bucket, stored_files(history))
    if layout.current.name in files:
        _place_file(layout, bucket, layout.current.name, files[layout.current.name])
    place = replace(
        place,
        segment=history.number,
        entries=len(stored),
        files=stored_files(history),
        at=place.at or now(),
    )
    write_place(layout, place)
    return place


def check_same_place(layout: Layout, place: StoragePlace, url: str) -> None:
    """Raise BadInput for another bucket than the one that the folder's missing files are in."""
    if place.url != url:
        raise BadInput(
            f"{layout.root} is stored in {place.url}, not in {url}",
            f"Set it back (--set storage.url={place.url}), or run in an empty folder.",
        )


def _order(name: str) -> tuple[bool, str]:
    """The config first: with it, the folder is a campaign's."""
    return name != "campaign.yaml", name


def _choose(layout: Layout, place: StoragePlace, history: LedgerHistory) -> dict[str, str | None]:
    """Files to fetch with their sha256, and those to remove (None)."""
    stored = stored_files(history)
    chosen: dict[str, str | None] = {}
    replies = layout.judge_replies.relative_to(layout.root).as_posix()
    for name in {*stored, *place.files}:
        if checkpoint_of(name):
            continue
        path = layout.root / name
        local = file_sha256(path) if path.is_file() else None
        if name == replies and local is not None:  # a database: joined, not replaced
            if stored.get(name) != place.files.get(name):
                chosen[name] = stored[name]
            continue
        what = join_file(name, local, place.files.get(name), stored.get(name))
        if what == "parted":
            raise _parted(layout, place.url, f"its {name} has lines")
        if what != "keep":
            chosen[name] = stored.get(name)
    return chosen


def _parted(layout: Layout, url: str, what: str) -> BadInput:
    return BadInput(
        f"{layout.root} and {url} have parted: {what} that are not there, and "
        "another machine has gone on since",
        "Run in an empty folder (--campaign-dir): it goes on from what is there. This folder "
        "keeps what it has.",
    )


def _place_file(layout: Layout, bucket: Bucket, name: str, sha256: str | None) -> None:
    path = layout.root / name
    if sha256 is None:
        path.unlink(missing_ok=True)
    elif path == layout.judge_replies and path.exists():
        fetched = path.with_name(f"{path.name}.stored")
        bucket.fetch(sha256, fetched)
        _join_replies(path, fetched)
        fetched.unlink()
    else:
        bucket.fetch(sha256, path)


def _join_replies(path: Path, other: Path) -> None:
    """Replies are known by what was asked: those of both are right."""
    with closing(sqlite3.connect(path, timeout=60)) as database:
        database.execute("ATTACH ? AS other", (str(other),))
        with database:
            database.execute("INSERT OR IGNORE INTO replies SELECT key, reply FROM other.replies")


def _write_manifests(
    layout: Layout, entries: Sequence[Entry], removed: Mapping[str, tuple[str, ...]]
) -> None:
    """The folder of each step as it is without its outputs: `bring` fetches them."""
    for entry in entries:
        if not entry.outputs:  # it says something about the campaign
            continue
        folder = layout.step(entry.round, entry.step, entry.fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        for name in entry.outputs:
            subfolder, slash, _ = name.partition("/")
            if slash and not name.startswith(removed.get(entry.fingerprint, ())):
                (folder / subfolder).mkdir(exist_ok=True)
        temporary = folder / f".{MANIFEST}.tmp"
        text = to_json(seal(asdict(entry)), indent=1) + "\n"
        temporary.write_text(text, encoding="utf-8", errors="surrogatepass")
        os.replace(temporary, folder / MANIFEST)
