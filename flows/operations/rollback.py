"""`ratchet rollback`: the next round starts from an earlier policy, and nothing is deleted."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.campaign.current import read_current
from dpo_core.campaign.facts import (
    describe_incumbent,
    find_incumbent,
    policy_artifact,
    policy_name,
    read_round_row,
)
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import current_user
from dpo_core.campaign.lock import locked
from dpo_core.campaign.rollbacks import Rollback, rollback
from dpo_core.campaign.store import Store
from dpo_core.campaign.waiting import clear_waiting
from dpo_core.errors import BadInput
from dpo_core.gate.stop_rules import StopReason
from dpo_core.text import visible
from flows.config import CampaignConfig, read_stored


def roll_back(root: Path, to: int, why: str) -> list[str]:
    """Let the round after the last finished one start from round `to`; what to tell of it.

    Raises BadInput for a round without a policy, CampaignLocked while the campaign runs.
    """
    layout = Layout(root)
    config = read_stored(layout)
    with locked(layout.lock):
        last = _last_finished(layout, config)
        before = find_incumbent(layout, last)
        _check(layout, last, before, to)
        store = Store(root, 1)
        store.roll_back(rollback(last, to, undo=False, by=current_user(), why=why))
        _remember(store, last)
        undo = shlex.join(["ratchet", "rollback", str(root), "--undo"])
        return [
            f"{visible(config.name)}: round {last + 1} will start from {policy_name(to)}, instead "
            f"of {policy_name(before)}",
            *_next(root, config, last),
            f"Nothing is deleted: {undo} lets the gate's word stand again.",
        ]


def undo_rollback(root: Path, why: str) -> list[str]:
    """Undo the last rollback that stands; what to tell of it. Raises as `roll_back`."""
    layout = Layout(root)
    config = read_stored(layout)
    with locked(layout.lock):
        store = Store(root, 1)
        if not store.rollbacks:
            raise BadInput(
                f"{root} was not rolled back, so there is nothing to undo",
                "Leave --undo out and give --to-round N to roll it back.",
            )
        undone = store.rollbacks[-1]
        last = _last_finished(layout, config)
        store.roll_back(rollback(undone.after, undone.to, undo=True, by=current_user(), why=why))
        _remember(store, last)
        return [_undone(layout, config, undone), *_again(root, config, undone, last)]


def _undone(layout: Layout, config: CampaignConfig, undone: Rollback) -> str:
    at = find_incumbent(layout, undone.after)
    return f"{visible(config.name)}: round {undone.after + 1} starts from {policy_name(at)} again"


def _again(root: Path, config: CampaignConfig, undone: Rollback, last: int) -> Iterator[str]:
    if last > undone.after:
        later = f"round {last}" if last == undone.after + 1 else f"rounds {undone.after + 1} to "
        later += "" if last == undone.after + 1 else str(last)
        yield f"What started from {policy_name(undone.to)} runs again: {later}."
    yield from _next(root, config, undone.after)


def _last_finished(layout: Layout, config: CampaignConfig) -> int:
    done = 0
    while read_round_row(layout, done + 1) is not None:
        done += 1
    if not done:
        raise BadInput(
            f"{layout.root} has no finished round, so there is nothing to roll back",
            f"`ratchet run` it first: it has {config.rounds} rounds to go.",
        )
    return done


def _check(layout: Layout, last: int, before: int, to: int) -> None:
    made = policy_artifact(layout, to) if to <= last else None
    if made is None:
        raise BadInput(
            f"round {to} has no policy to go back to: {last} is the last finished round",
            f"Give --to-round a number from 0, the base, to {last}.",
        )
    if to == before:
        raise BadInput(
            f"round {last + 1} starts from {policy_name(to)} already",
            "There is nothing to roll back.",
        )
    if not made.path("policy").exists():
        raise BadInput(
            f"the weights of {policy_name(to)} were removed to save space (keep_policies)",
            "Name a round whose weights are there.",
        )


def _remember(store: Store, last: int) -> None:
    """As a run would, and nobody is waited for: the round that asked may begin elsewhere now."""
    store.remember("promoted", describe_incumbent(store.layout, last))
    if (store.remembered("stopped") or {"rule": "gate"})["rule"] == "gate":
        store.remember("stopped", _stopped_by_gate(store, last))
    clear_waiting(store.layout)


def _stopped_by_gate(store: Store, last: int) -> dict[str, Any] | None:
    """A person's word on a round counts more than the gate's, which had ended the campaign."""
    row = read_round_row(store.layout, last) or {}
    stops = (row.get("gate") or {}).get("action") == "stop"
    if not stops or store.rolled_back(last) is not None:
        return None
    return asdict(StopReason("gate", row["decision"]))


def _next(root: Path, config: CampaignConfig, last: int) -> Iterator[str]:
    command = ["ratchet", "run", str(Layout(root).config), "--campaign-dir", str(root)]
    if config.rounds <= last:
        command += ["--set", f"rounds={last + 1}"]
    stopped = read_current(Layout(root)).get("stopped")
    if stopped is not None:
        yield (
            "The campaign has ended early, and ends again as long as that is so: "
            f"{stopped['sentence']}"
        )
    yield f"Next: {shlex.join(command)}"
