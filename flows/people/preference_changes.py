"""What became of a round's preferences between two aggregations."""

from dataclasses import dataclass
from typing import Any

from dpo_core.campaign.store import Artifact
from dpo_core.tables import read_rows


@dataclass(frozen=True)
class Changes:
    """Preferences by what became of them. Flipped: the other answer is chosen now; reweighed: the
    same one, with another certainty."""

    kept: int
    flipped: int
    reweighed: int
    vanished: int
    new: int

    @property
    def any(self) -> bool:
        return bool(self.flipped or self.reweighed or self.vanished or self.new)

    def shown(self) -> str:
        return (
            f"{self.flipped} flipped, {self.reweighed} reweighed, {self.vanished} vanished, "
            f"{self.new} new, {self.kept} as before"
        )


def changes(before: Artifact | None, after: Artifact) -> Changes:
    """From one version of a round's preferences to another, pair by pair."""
    old, new = _by_pair(before), _by_pair(after)
    both = old.keys() & new.keys()
    flipped = sum(old[pair][0] != new[pair][0] for pair in both)
    same = sum(old[pair] == new[pair] for pair in both)
    return Changes(
        kept=same,
        flipped=flipped,
        reweighed=len(both) - flipped - same,
        vanished=len(old.keys() - both),
        new=len(new.keys() - both),
    )


def _by_pair(preferences: Artifact | None) -> dict[str, tuple[str, Any]]:
    """pair_id → (chosen, certainty)."""
    if preferences is None:
        return {}
    columns = ["pair_id", "chosen", "p_chosen"]
    rows = read_rows(preferences.path("preferences.parquet"), columns)
    return {row["pair_id"]: (row["chosen"], row["p_chosen"]) for row in rows}
