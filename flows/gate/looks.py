"""How often the gate looked at its prompts: a pure function of the ledger."""

from collections.abc import Iterable

from dpo_core.campaign.ledger import Entry


def looks(entries: Iterable[Entry]) -> int:
    """Policies that the gate decided on, refused attempts and rounds made again among them; in a
    branch those of the rounds that came along as well.

    All of them met the same prompts, so each is another chance for a policy that is no better to
    pass. A decision that a person gave, on numbers that were looked at before, is no other look.
    """
    decided = (entry for entry in entries if entry.step == "gate")
    return len({(e.round, e.facts.get("question", e.fingerprint)) for e in decided})
