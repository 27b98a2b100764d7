"""The rules by themselves: machines in any order, any ledgers, any three versions of a file."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.prunes import prune, pruned
from dpo_core.storage.objects import check_url
from dpo_core.storage.rules import (
    Lease,
    LedgerSegment,
    counted,
    encode,
    join,
    join_file,
    lease_key,
    lease_standing,
    meaning,
    numbers,
    outputs_to_upload,
    read_lease,
    read_segment,
    segment_key,
)

NAMES = st.text(max_size=8)
ENTRIES = st.builds(
    Entry,
    round=st.integers(0, 9),
    step=NAMES,
    fingerprint=st.text("0123456789abcdef", min_size=8, max_size=8),
    outputs=st.dictionaries(st.sampled_from(["a", "policy/b", "policy/c"]), NAMES),
    facts=st.dictionaries(NAMES, st.one_of(st.none(), st.floats(allow_nan=False), NAMES)),
)
LEDGERS = st.lists(ENTRIES, max_size=6)
SEGMENTS = st.builds(
    LedgerSegment,
    epoch=st.integers(1, 99),
    nonce=NAMES,
    host=NAMES,
    entries=LEDGERS.map(tuple),
    files=st.dictionaries(NAMES, NAMES),
)
LEASES = st.builds(
    Lease, epoch=st.integers(1, 99), nonce=NAMES, host=NAMES, pid=st.integers(1), renewed=st.just(0)
)


@given(SEGMENTS, LEASES)
def test_what_is_written_is_read(segment: LedgerSegment, lease: Lease) -> None:
    assert read_segment(encode(segment), "key") == segment
    assert read_lease(encode(lease), "key") == lease


def test_odd_entries_come_back_to_the_letter_and_equal_themselves() -> None:
    """As older versions may have written them, and with a number that is none."""
    facts = {"loss": float("nan"), "counts": [1, 2.0, None]}
    odd = Entry(1, "gate", "f", dropped={"why": 1.5}, seconds=3, facts=facts)  # type: ignore[dict-item]
    back = read_segment(encode(LedgerSegment(1, "n", "h", (odd,))), "key").entries
    assert join([odd], back) == "same"
    assert encode(LedgerSegment(1, "n", "h", back)) == encode(LedgerSegment(1, "n", "h", (odd,)))


@given(st.sets(st.integers(0, 10**6)))
def test_objects_are_numbered_in_order(given_numbers: set[int]) -> None:
    for key in (lease_key, segment_key):
        names = [key(n).partition("/")[2] for n in given_numbers]
        assert numbers([*names, "other.txt", "x.json"]) == sorted(given_numbers)


class Machines:
    """Each appends after what it has read; whoever takes over reads all there is, and seals it. A
    creation is carried out, or its answer is lost, or it is not carried out at all.

    known: epoch → the last number that its machine knows. told: steps that count for their machine.
    """

    def __init__(self, draw: Callable[[Sequence[str]], str]) -> None:
        self.bucket: dict[int, bytes] = {}
        self.known: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.told: list[str] = []
        self._draw = draw

    def take_over(self) -> None:
        epoch, number = max(self.known, default=0) + 1, max(self.bucket, default=0) + 1
        assert self._create(number, LedgerSegment(epoch, f"{epoch}", "host")) == "mine"
        self.known[epoch] = number

    def append(self, epoch: int) -> None:
        number = self.known[epoch] + 1
        step = Entry(0, f"{epoch}.{number}", "f")
        if self._create(number, LedgerSegment(epoch, f"{epoch}", "host", (step,))) == "theirs":
            self.stopped.add(epoch)
        else:
            self.known[epoch] = number
            self.told.append(step.step)

    def _create(self, number: int, segment: LedgerSegment) -> str:
        content = encode(segment)
        while True:
            happens = self._draw(["carried out", "answer lost", "not carried out"])
            if happens != "not carried out" and number not in self.bucket:
                self.bucket[number] = content
                if happens == "carried out":
                    return "mine"
            if (found := meaning(self.bucket.get(number), content)) != "absent":
                return found


@given(st.data())
def test_of_machines_in_any_order_one_goes_on_and_the_others_find_out(data: st.DataObject) -> None:
    machines = Machines(lambda choices: data.draw(st.sampled_from(choices)))
    for _ in range(data.draw(st.integers(0, 12))):
        epoch = data.draw(st.sampled_from([0, *sorted({*machines.known} - machines.stopped)]))
        if epoch:
            machines.append(epoch)
        else:
            machines.take_over()
    bucket = machines.bucket
    segments = [read_segment(bucket[n], "key") for n in sorted(bucket)]
    assert sorted(bucket) == [*range(1, len(bucket) + 1)]
    assert counted(segments) == segments  # the fence let nothing in that does not count
    steps = [entry.step for segment in segments for entry in segment.entries]
    assert sorted(steps) == sorted(machines.told)
    assert max(machines.known, default=0) not in machines.stopped  # whoever came last was not


@given(SEGMENTS, SEGMENTS)
def test_segment_of_an_earlier_holder_after_a_later_one_does_not_count(
    first: LedgerSegment, late: LedgerSegment
) -> None:
    late = replace(late, epoch=first.epoch - 1)
    assert counted([first, late, first]) == [first, first]


@given(LEASES, st.floats(0, 100), st.floats(1, 100))
def test_lease_is_free_when_nobody_has_renewed_it_for_long_enough(
    lease: Lease, waited_s: float, lease_s: float
) -> None:
    def stands(now: Lease | None, dead: str | None = None) -> str:
        return lease_standing(lease, now, waited_s, lease_s, dead)

    assert stands(replace(lease, renewed=1)) == "held"
    assert stands(replace(lease, released=True)) == stands(None) == "free"
    assert stands(lease, dead=lease.nonce) == "free"
    assert stands(lease) == ("free" if waited_s >= lease_s else "unclear")


@given(LEDGERS, LEDGERS, LEDGERS)
def test_ledgers_join_where_one_goes_on_from_the_other(
    shared: Sequence[Entry], here: Sequence[Entry], there: Sequence[Entry]
) -> None:
    local, stored = [*shared, *here], [*shared, *there]
    mirrored = {"same": "same", "ahead": "behind", "behind": "ahead", "parted": "parted"}
    found = join(local, stored)
    assert join(stored, local) == mirrored[found]
    if found == "parted":
        assert local[: len(stored)] != stored and stored[: len(local)] != local
    else:
        assert max(local, stored, key=len)[: min(len(local), len(stored))] == min(
            local, stored, key=len
        )


VERSIONS = st.sampled_from([None, "x", "y", "z"])


@given(VERSIONS, VERSIONS, VERSIONS)
def test_nothing_that_grew_is_overwritten(
    local: str | None, known: str | None, stored: str | None
) -> None:
    what = join_file("labels/01.jsonl", local, known, stored)
    if local not in (None, known, stored):  # it grew here
        assert what == ("keep" if stored in (None, known) else "parted")
    elif local is not None and local == known != stored is not None:
        assert what == "fetch"  # it grew there
    assert what != "remove"
    assert join_file("current.json", local, known, stored) != "parted"


@given(LEDGERS)
def test_all_outputs_are_uploaded_but_those_that_were_removed(entries: Sequence[Entry]) -> None:
    every = [*entries, *(prune(each, "policy") for each in entries[:2])]
    wanted = outputs_to_upload(every, pruned(every))
    last = {(e.round, e.step, e.fingerprint): e for e in entries}
    gone = {each.fingerprint for each in entries[:2]}
    assert set(wanted) == {
        sha256
        for entry in last.values()
        for name, sha256 in entry.outputs.items()
        if entry.fingerprint not in gone or not name.startswith("policy/")
    }


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/path",
        "az://account/container?sig=secret",
        "gs://bucket#secret",
        "https://secret.example.com/x",
        "/path",
        "file://host/path",
        "file:///",
        "s3:///path",
        "az://account",
    ],
)
def test_urls_with_secrets_or_without_a_store_are_refused_and_not_echoed(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|begin") as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://b/p", "gs://b", "az://a/c/p", "file:///p"])
def test_urls_of_stores_are_taken(url: str) -> None:
    check_url(url)
