"""How steps are named, and what becomes of those that an older Ratchet finished under other names.

A fingerprint says all that a step depends on. Where a new version of Ratchet sees more that does,
every fingerprint is another one, and a campaign would be made anew. So a step that an older version
finished counts for the recipe that it had then: `kept` says so once, in the ledger, when a round is
first come to again. After that (`settled`) the recipe of today is what counts: whatever changes it
has the step made anew. `recomputed` lets nothing count that an older version finished.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from dpo_core.campaign.ledger import Entry, now
from dpo_core.hashing import digest

IDENTITY = 3
"""1: weights alone identified a policy, paths the user's files, and not all that steps read was
among their inputs. 2: all of that by its contents. 3: which prompts are test prompts is an input of
the log-probs of held-out answers, which are had of answers to these alone."""

KEPT, SETTLED, RECOMPUTED = "kept", "settled", "recomputed"
"""Step names of these entries of the ledger."""


def _version() -> str:
    try:
        return version("ratchet-dpo")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


VERSION = _version()


def kept(entry: Entry, fingerprint: str) -> Entry:
    """The entry that says that a finished step counts for the recipe of this `fingerprint`."""
    facts = {"step": entry.step, "fingerprint": entry.fingerprint, "counts_for": fingerprint}
    return _entry(entry.round, KEPT, facts)


def settled(number: int) -> Entry:
    """The entry that says that what older versions finished up to a round was looked at."""
    return _entry(number, SETTLED, {})


def recomputed() -> Entry:
    """The entry that says that nothing counts that an older version finished."""
    return _entry(0, RECOMPUTED, {})


def kept_as(entries: Iterable[Entry]) -> dict[tuple[int, str, str], str]:
    """(round, step, fingerprint of today) → fingerprint of the finished step that counts for it."""
    counted: dict[tuple[int, str, str], str] = {}
    for entry in entries:
        if entry.step == KEPT:
            facts = entry.facts
            counted[(entry.round, facts["step"], facts["counts_for"])] = facts["fingerprint"]
        elif entry.step == RECOMPUTED:
            counted = {}
    return counted


def settled_through(entries: Iterable[Entry]) -> dict[int, float]:
    """Each identity before today's → the last round of which nothing more is let count that was
    finished under it; −1 for none.

    What a version settled, or had made anew, is what those before it had finished: its own steps
    may count in the next one.
    """
    last = dict.fromkeys(range(1, IDENTITY), -1.0)
    for entry in entries:
        if entry.step in (SETTLED, RECOMPUTED):
            through = float("inf") if entry.step == RECOMPUTED else entry.round
            last |= {i: max(last[i], through) for i in last if i < entry.identity}
    return last


def _entry(number: int, step: str, facts: dict[str, str]) -> Entry:
    at = now()
    return stated(number, step, digest(step, number, facts, at), facts, at)


def stated(number: int, step: str, name: str, facts: Mapping[str, object], at: str) -> Entry:
    """An entry that is no finished step, but says something about a campaign."""
    return Entry(number, step, name, facts=facts, at=at, ratchet=VERSION, identity=IDENTITY)
