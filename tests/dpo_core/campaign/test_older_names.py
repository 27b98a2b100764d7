"""Which steps count that older versions finished, through two changes of how steps are named."""

from pathlib import Path

import pytest

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.identity import IDENTITY, KEPT, RECOMPUTED, SETTLED, settled_through
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.store import Recipe, Store

NAMES = {1: "1st", 2: "2nd"}
"""What these identities called the step."""


def finished(identity: int, number: int = 1) -> Entry:
    return Entry(number, "scores", NAMES[identity], identity=identity)


def kept(by: int) -> Entry:
    """The second version lets count what the first one finished."""
    facts = {"step": "scores", "fingerprint": NAMES[1], "counts_for": NAMES[by]}
    return Entry(1, KEPT, f"kept by {by}", facts=facts, identity=by)


def settled(by: int, number: int = 1) -> Entry:
    return Entry(number, SETTLED, f"settled by {by}", identity=by)


def recomputed(by: int) -> Entry:
    return Entry(0, RECOMPUTED, f"recomputed by {by}", identity=by)


HISTORIES: dict[str, tuple[list[Entry], int | None]] = {
    "by the first": ([finished(1)], 1),
    "by the second": ([finished(2), settled(2)], 2),
    "by the first, and it was let count": ([finished(1), kept(2), settled(2)], 1),
    "by the first, and it was not let count": ([finished(1), settled(2)], None),
    "let count, then made anew all the same": (
        [finished(1), kept(2), settled(2), finished(2)],
        2,
    ),
    "by the first, not looked at": ([finished(1), settled(2, number=0)], 1),
    "let count before it was interrupted": ([finished(1), kept(2)], 1),
    "to be made anew by the second": ([finished(1), kept(2), recomputed(2)], None),
    "made anew by the second": ([finished(1), recomputed(2), finished(2)], 2),
    "made anew by the second, to be made anew": (
        [finished(1), finished(2), recomputed(IDENTITY)],
        None,
    ),
    "settled by today's": ([finished(2), settled(IDENTITY)], None),
}


@pytest.mark.parametrize(("history", "counts"), HISTORIES.values(), ids=HISTORIES)
def test_what_an_older_version_finished_counts_once(
    tmp_path: Path, history: list[Entry], counts: int | None
) -> None:
    layout = Layout(tmp_path)
    Ledger(layout.ledger).extend(history)
    for identity in NAMES:
        if finished(identity) in history:
            layout.step(1, "scores", NAMES[identity]).mkdir(parents=True)

    def ran() -> tuple[bool, int]:
        store = Store(tmp_path, threads=1)
        older = tuple(NAMES[identity] for identity in store.older_identities(1, "scores"))
        made = store.run(Recipe(1, "scores", {}, older=older), lambda _: StepResult())
        store.settle(1)
        assert not store.older_identities(1, "scores")
        return made.cached, made.entry.identity

    expected = (False, IDENTITY) if counts is None else (True, counts)
    assert ran() == expected
    lines = Ledger(layout.ledger).read()
    assert ran() == (True, expected[1])
    assert Ledger(layout.ledger).read() == lines, "said once"


def test_each_version_settles_for_those_before_it() -> None:
    entries = [finished(1), settled(2, 4), settled(2, 3), settled(3, 1)]
    assert settled_through(entries) == {1: 4, 2: 1}
    assert settled_through([*entries, recomputed(2)]) == {1: float("inf"), 2: 1}
    assert settled_through([]) == {1: -1, 2: -1}
