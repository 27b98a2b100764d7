"""What is in a campaign's bucket, and what an answer of the store means. No I/O, no clock.

    blobs/<sha256>          contents of files; written again without harm
    blobs/<sha256>.url      a branch: in which other bucket those contents are
    checkpoints/<sha256>    the same of what training goes on from; a rule of the store may remove
                            old ones
    lease/<epoch>.json      created by a machine that goes on with the campaign, which renews it
    ledger/<number>.json    created: a segment of the ledger, and what grows as it is now

One primitive carries it: creating an object that is not there yet. A segment counts once it is
created, and then all blobs that it names are there. Whoever takes a campaign over first creates a
segment without entries; the one before finds its next number taken, and stops. Clocks decide
nothing: the lease only keeps a second machine from taking over one that works.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from dpo_core.campaign.ledger import Entry
from dpo_core.errors import StorageFailed

BLOBS, CHECKPOINT_BLOBS, LEASES, SEGMENTS = "blobs", "checkpoints", "lease", "ledger"


@dataclass(frozen=True)
class Lease:
    """Who goes on with a campaign. epoch: the first holder's is 1. nonce: of one process.
    renewed: how often it was. released: its holder has ended well."""

    epoch: int
    nonce: str
    host: str
    pid: int
    renewed: int = 0
    released: bool = False


@dataclass(frozen=True)
class LedgerSegment:
    """Steps that were finished since the segment before, and the sha256 of every file that grows,
    by its path in the campaign's folder."""

    epoch: int
    nonce: str
    host: str
    entries: tuple[Entry, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


_LEASE, _SEGMENT = TypeAdapter(Lease), TypeAdapter(LedgerSegment)


def blob_key(sha256: str, folder: str = BLOBS) -> str:
    return f"{folder}/{sha256}"


def elsewhere_key(sha256: str) -> str:
    return f"{blob_key(sha256)}.url"


def lease_key(epoch: int) -> str:
    return f"{LEASES}/{epoch:06d}.json"


def segment_key(number: int) -> str:
    return f"{SEGMENTS}/{number:08d}.json"


def numbers(names: Iterable[str]) -> list[int]:
    """The numbers of leases or segments with these names, in order."""
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def encode(value: Lease | LedgerSegment) -> bytes:
    return (json.dumps(asdict(value), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def read_lease(content: bytes, key: str) -> Lease:
    try:
        return _LEASE.validate_json(content)
    except ValidationError:
        raise _unreadable(key) from None


def read_segment(content: bytes, key: str) -> LedgerSegment:
    try:
        raw = json.loads(content.decode("utf-8", "surrogatepass"))
        # As they are: what older versions wrote must come back to the letter.
        entries = tuple(Entry(**each) for each in raw.pop("entries"))
        return replace(_SEGMENT.validate_python(raw), entries=entries)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _unreadable(key) from None


def _unreadable(key: str) -> StorageFailed:
    return StorageFailed(
        f"{key} in the campaign's storage is not what this version of Ratchet writes",
        "Use the version that wrote it, or a newer one.",
        lasting=True,
    )


Standing = Literal["absent", "mine", "theirs"]


def meaning(found: bytes | None, mine: bytes) -> Standing:
    """What the object says that was to be created, read after an answer that was no success.

    Stores and their clients try again by themselves, and then report that an object exists which
    this process has just written; answers get lost after the write. Only the bytes tell.
    """
    if found is None:
        return "absent"
    return "mine" if found == mine else "theirs"


def lease_standing(
    first: Lease | None, now: Lease | None, waited_s: float, lease_s: float, dead: str | None
) -> Literal["free", "unclear", "held"]:
    """Whether a campaign may be taken over.

    first, now: its newest lease as it was `waited_s` ago, and as it is. dead: the nonce of a
    process that is known to have ended, as it ran in the folder that this one has locked.
    """
    if now is None or now.released or now.nonce == dead:
        return "free"
    if now != first:
        return "held"
    return "free" if waited_s >= lease_s else "unclear"


def counted(segments: Iterable[LedgerSegment]) -> list[LedgerSegment]:
    """Those that count: none of a holder after one that followed it."""
    counting: list[LedgerSegment] = []
    for segment in segments:
        if not counting or segment.epoch >= counting[-1].epoch:
            counting.append(segment)
    return counting


def _text(entry: Entry) -> str:
    """By which entries are compared: a number that is none equals itself."""
    return json.dumps(asdict(entry), sort_keys=True)


Joined = Literal["same", "behind", "ahead", "parted"]


def join(local: Sequence[Entry], stored: Sequence[Entry]) -> Joined:
    """How a folder's ledger stands to the bucket's. `parted`: each has what the other lacks."""
    shared = min(len(local), len(stored))
    if any(_text(a) != _text(b) for a, b in zip(local[:shared], stored[:shared], strict=True)):
        return "parted"
    if len(local) == len(stored):
        return "same"
    return "behind" if len(local) < len(stored) else "ahead"


FOLLOWS = ("current.json", "waiting.json", "tracking.json")
"""Files that say how things stand: of two changed ones, the bucket's counts."""


def join_file(
    name: str, local: str | None, known: str | None, stored: str | None
) -> Literal["keep", "fetch", "remove", "parted"]:
    """What becomes of a file that grows, by its sha256 here, when both were last the same, and in
    the bucket."""
    follows = name in FOLLOWS or name.startswith("campaign")
    if stored is None:
        return "remove" if follows and local is not None and local == known else "keep"
    if stored in (local, known):
        return "keep"
    return "fetch" if local in (None, known) or follows else "parted"


def outputs_to_upload(
    entries: Sequence[Entry], pruned: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[Entry, str]]:
    """sha256 → (step, name) of each output that entries need in the bucket, in their order.

    pruned: as dpo_core.campaign.prunes.pruned gives it. Of a step that was made twice, the last one
    counts.
    """
    last = {(e.round, e.step, e.fingerprint): e for e in entries}
    return {
        sha256: (entry, name)
        for entry in last.values()
        for name, sha256 in entry.outputs.items()
        if not name.startswith(pruned.get(entry.fingerprint, ()))
    }
