"""Facts of a campaign, read from its folder without running anything: its valid steps, its finished
rounds, and the incumbent, which is the policy that the next round starts from."""

import json
from collections.abc import Iterable, Mapping

from dpo_core.campaign.artifacts import Artifact, current_artifact
from dpo_core.campaign.current import PromotedPolicy, valid_steps
from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.layout import FINGERPRINT_SHOWN, Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.campaign.rollbacks import Rollback, rolled_back
from dpo_core.campaign.round_metrics import RoundMetrics

_UNDECIDED = ("retry", "ask")


def valid_entries(layout: Layout, planned: int) -> tuple[Entry, ...]:
    """Of rounds 0 to `planned`, each round's in the order in which they ran."""
    entries = {
        (entry.round, f"{entry.step}-{entry.fingerprint[:FINGERPRINT_SHOWN]}"): entry
        for entry in Ledger(layout.ledger).read()
    }
    names = ((n, name) for n in range(planned + 1) for name in valid_steps(layout, n).values())
    return tuple(entries[key] for key in names if key in entries)


def read_round_metrics(layout: Layout, number: int) -> RoundMetrics | None:
    """The metrics of a finished round, or None."""
    gate = current_artifact(layout, number, "gate")
    return None if gate is None else read_metrics(gate)


def read_metrics(gate: Artifact) -> RoundMetrics:
    """The metrics that a step `gate` has recorded."""
    recorded = json.loads(gate.path("metrics.json").read_text(encoding="utf-8"))
    return RoundMetrics.model_validate(recorded)


def is_finished(layout: Layout, number: int) -> bool:
    """Whether a round is finished and valid and its gate has decided; 0: the base with its answers.
    A round that its gate asks about, or tries again, is not."""
    if number == 0:
        return current_artifact(layout, 0, "answers") is not None
    row = read_round_metrics(layout, number)
    return row is not None and is_over(row)


def is_over(row: RoundMetrics) -> bool:
    """Whether a round with these numbers is finished: its gate neither tries again nor asks."""
    return row.at_gate.action not in _UNDECIDED


def incumbent_round(
    rows: Mapping[int, RoundMetrics], people: Iterable[Rollback], number: int
) -> int:
    """The round whose policy goes on after round `number`, 0 for the base: a person's word, else
    what the gate named, else the last that was promoted."""
    chosen_after = {one.after: one.to for one in people}
    for each in range(number, 0, -1):
        if each in chosen_after:
            return chosen_after[each]
        row = rows.get(each)
        if row is not None and row.at_gate.goes_on_from is not None:
            return row.at_gate.goes_on_from
        if row is not None and row.promoted:
            return each
    return 0


def find_incumbent(layout: Layout, number: int) -> int:
    """The round whose policy the next one starts from, once round `number` is finished; 0: the
    base. As the campaign's folder says it, without running anything."""
    numbers = range(1, number + 1)
    rows = {n: row for n in numbers if (row := read_round_metrics(layout, n)) is not None}
    return incumbent_round(rows, rolled_back(Ledger(layout.ledger).read()), number)


def policy_artifact(layout: Layout, number: int) -> Artifact | None:
    """The valid step that made the policy of round `number`; None before it is finished."""
    return current_artifact(layout, number, "training" if number else "base")


def describe_incumbent(layout: Layout, number: int) -> PromotedPolicy:
    """The policy that goes on after round `number`."""
    at = find_incumbent(layout, number)
    policy = policy_artifact(layout, at)
    assert policy is not None, "a policy that goes on was made"
    path = policy.path("policy").relative_to(layout.root)
    return PromotedPolicy(at, policy.entry.facts["policy"], str(path))


def policy_name(number: int) -> str:
    """The policy of a round, in words."""
    return f"round {number}'s policy" if number else "the base policy"


def count_gate_looks(entries: Iterable[Entry]) -> int:
    """Policies that the gate decided on, refused attempts and rounds made again among them; in a
    branch those of the rounds that came along as well.

    All of them met the same prompts, so each is another chance for a policy that is no better to
    pass. A decision that a person gave, on numbers that were looked at before, is no other look.
    """
    decided = (entry for entry in entries if entry.step == "gate")
    return len({(e.round, GateFacts.read(e.facts).question or e.fingerprint) for e in decided})
