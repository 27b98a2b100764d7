"""What was removed of finished steps to save space: entries of the ledger, so that outputs that
were removed are told from outputs that were lost."""

from collections import defaultdict
from collections.abc import Iterable

from dpo_core.campaign.identity import stated
from dpo_core.campaign.ledger import Entry, now
from dpo_core.hashing import digest

PRUNE = "prune"
"""Step name of these entries."""


def prune(entry: Entry, subfolder: str) -> Entry:
    """The entry that says that `subfolder` of a finished step is removed."""
    facts = {"fingerprint": entry.fingerprint, "subfolder": subfolder}
    return stated(entry.round, PRUNE, digest(PRUNE, facts), facts, now())


def pruned(entries: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """fingerprint of a step → what the names of its removed outputs begin with, as in `policy/`."""
    subfolders: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.step == PRUNE:
            subfolders[entry.facts["fingerprint"]].add(f"{entry.facts['subfolder']}/")
    return {fingerprint: tuple(sorted(names)) for fingerprint, names in subfolders.items()}
