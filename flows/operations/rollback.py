"""`ratchet rollback`: start the next round from an earlier policy. Nothing is deleted."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from dpo_core.campaign.current import StopReason, read_current
from dpo_core.campaign.facts import (
    describe_incumbent,
    find_incumbent,
    policy_artifact,
    policy_name,
    read_round_metrics,
)
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import current_user
from dpo_core.campaign.lock import locked
from dpo_core.campaign.rollbacks import Rollback, rollback
from dpo_core.campaign.store import Store
from dpo_core.campaign.waiting import clear_waiting
from dpo_core.errors import BadInput
from dpo_core.text import visible
from flows.config import CampaignConfig, read_stored


def roll_back(root: Path, to: int, why: str) -> list[str]:
    """Start the round after the last finished one from round `to`; returns lines to print.

    Raises BadInput for a round without a policy, CampaignLocked while the campaign runs.
    """
    layout = Layout(root)
    config = read_stored(layout)
    with locked(layout.lock):
        last = _find_last_finished(layout, config)
        before = find_incumbent(layout, last)
        _check(layout, last, before, to)
        store = Store(root, 1)
        store.roll_back(rollback(last, to, undo=False, by=current_user(), why=why))
        _remember(store, last)
        undo = shlex.join(["ratchet", "rollback", str(root), "--undo"])
        return [
            f"{visible(config.name)}: round {last + 1} will start from {policy_name(to)}, instead "
            f"of {policy_name(before)}",
            *_next_steps(root, config, last),
            f"Nothing is deleted: {undo} restores the gate's decision.",
        ]


def undo_rollback(root: Path, why: str) -> list[str]:
    """Undo the last rollback; returns lines to print. Raises as `roll_back`."""
    layout = Layout(root)
    config = read_stored(layout)
    with locked(layout.lock):
        store = Store(root, 1)
        if not store.rollbacks:
            raise BadInput(
                f"{root} was not rolled back, so there is nothing to undo",
                "Omit --undo and give --to-round N to roll it back.",
            )
        undone = store.rollbacks[-1]
        last = _find_last_finished(layout, config)
        store.roll_back(rollback(undone.after, undone.to, undo=True, by=current_user(), why=why))
        _remember(store, last)
        return list(_undo_message(layout, config, undone, last))


def _undo_message(
    layout: Layout, config: CampaignConfig, undone: Rollback, last: int
) -> Iterator[str]:
    start, first = find_incumbent(layout, undone.after), undone.after + 1
    yield f"{visible(config.name)}: round {first} starts from {policy_name(start)} again"
    if last >= first:
        rounds = f"round {last}" if last == first else f"rounds {first} to {last}"
        yield f"What started from {policy_name(undone.to)} runs again: {rounds}."
    yield from _next_steps(layout.root, config, undone.after)


def _find_last_finished(layout: Layout, config: CampaignConfig) -> int:
    done = 0
    while read_round_metrics(layout, done + 1) is not None:
        done += 1
    if not done:
        raise BadInput(
            f"{layout.root} has no finished round, so there is nothing to roll back",
            f"`ratchet run` it first: {config.rounds} rounds are to go.",
        )
    return done


def _check(layout: Layout, last: int, before: int, to: int) -> None:
    policy = policy_artifact(layout, to) if to <= last else None
    if policy is None:
        raise BadInput(
            f"round {to} has no policy to roll back to: round {last} is the last finished one",
            f"Give --to-round a number from 0 (the base) to {last}.",
        )
    if to == before:
        raise BadInput(
            f"round {last + 1} starts from {policy_name(to)} already",
            "There is nothing to roll back.",
        )
    if not policy.path("policy").exists():
        raise BadInput(
            f"the weights of {policy_name(to)} were removed to save space (keep_policies)",
            "Name another round.",
        )


def _remember(store: Store, last: int) -> None:
    """Record the incumbent as a run would, and stop waiting: the waiting round may change."""
    store.remember("promoted", describe_incumbent(store.layout, last))
    if store.state.stopped is None or store.state.stopped.rule == "gate":
        store.remember("stopped", _find_gate_stop(store, last))
    clear_waiting(store.layout)


def _find_gate_stop(store: Store, last: int) -> StopReason | None:
    """The gate's decision to stop, unless a person's rollback overrides it."""
    row = read_round_metrics(store.layout, last)
    if row is None or row.at_gate.action != "stop" or store.rolled_back(last) is not None:
        return None
    return StopReason("gate", row.decision)


def _next_steps(root: Path, config: CampaignConfig, last: int) -> Iterator[str]:
    command = ["ratchet", "run", str(Layout(root).config), "--campaign-dir", str(root)]
    if config.rounds <= last:
        command += ["--set", f"rounds={last + 1}"]
    stopped = read_current(Layout(root)).stopped
    if stopped is not None:
        yield (
            f"The campaign has ended early, and will again until this changes: {stopped.sentence}"
        )
    yield f"Next: {shlex.join(command)}"
