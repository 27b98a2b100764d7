"""The steps that are valid now."""

from dpo_core.campaign.current import valid_steps
from dpo_core.campaign.layout import FINGERPRINT_SHOWN, Layout
from dpo_core.campaign.ledger import Entry, Ledger


def current_entries(layout: Layout, planned: int) -> tuple[Entry, ...]:
    """Of rounds 0 to `planned`, each round's in the order in which they ran."""
    made = {
        (entry.round, f"{entry.step}-{entry.fingerprint[:FINGERPRINT_SHOWN]}"): entry
        for entry in Ledger(layout.ledger).read()
    }
    names = ((n, name) for n in range(planned + 1) for name in valid_steps(layout, n).values())
    return tuple(made[key] for key in names if key in made)
