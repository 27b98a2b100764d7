"""Whose policy goes on after the rounds that are finished: a pure function."""

from collections.abc import Iterable, Mapping
from typing import Any

from dpo_core.campaign.rollbacks import RolledBack

Row = Mapping[str, Any]
"""Numbers of a round."""


def goes_on(rows: Mapping[int, Row], people: Iterable[RolledBack], number: int) -> int:
    """The round whose policy goes on after round `number`, 0 for the base: a person's word, else
    what the gate named, else the last that was promoted."""
    said = {one.after: one.to for one in people}
    for each in range(number, 0, -1):
        if each in said:
            return said[each]
        row = rows.get(each) or {}
        named = (row.get("gate") or {}).get("goes_on_from")
        if named is not None:
            return int(named)
        if row.get("promoted"):
            return each
    return 0
