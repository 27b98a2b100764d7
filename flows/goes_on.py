"""Which policy goes on after a round, as the campaign's folder says it."""

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Artifact, current_artifact
from flows.show.summary import read_round_row


def goes_on_from(layout: Layout, number: int) -> int:
    """The round whose policy the next one starts from, once round `number` is finished; 0: the
    base."""
    for each in range(number, 0, -1):
        row = read_round_row(layout, each) or {}
        named = (row.get("gate") or {}).get("goes_on_from")
        if named is not None:
            return int(named)
        if row.get("promoted"):
            return each
    return 0


def policy_artifact(layout: Layout, number: int) -> Artifact | None:
    """The valid step that made the policy of round `number`; None before it is finished."""
    return current_artifact(layout, number, "training" if number else "base")
