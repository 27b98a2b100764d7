"""Notifications: a campaign waits for people, the gate decided, or something failed.

Sent by Prefect's own blocks. A notification that cannot be sent does not fail the campaign; the
error is printed without the address, which is a secret.
"""

import os
from collections.abc import Callable
from typing import Any, Literal

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.facts import read_round_metrics
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, read_waiting
from dpo_core.errors import RatchetError
from dpo_core.text import visible
from flows.config import CampaignConfig
from flows.session import Session

Event = Literal["waiting", "gate", "failure"]
Note = Callable[[str], None]

_TIMEOUT_S = 10.0


def send_notification(config: CampaignConfig, event: Event, text: str, note: Note) -> None:
    """Send `text` to all addresses that the config names for the event; `note` gets errors."""
    notify = config.notify
    if event not in notify.on:
        return
    for variable, send in ((notify.webhook, _post), (notify.slack, _slack)):
        if variable is None:
            continue
        url = os.environ.get(variable, "").strip()
        try:
            if not url:
                raise LookupError(f"the environment variable {variable} is not set")
            send(url, config.name, event, visible(text))
        except Exception as error:
            text_of_error = (str(error).replace(url, "…") if url else str(error)).strip()
            first = text_of_error.splitlines()[0] if send is _post and text_of_error else ""
            kind = type(error).__name__
            note(f"notification not sent (address in {variable}): {kind} {first}".rstrip())


def notify_waiting(
    config: CampaignConfig, layout: Layout, before: Waiting | None, sentence: str, note: Note
) -> None:
    """Notify once that people are needed; `before`: what the campaign waited for when it began."""
    now = read_waiting(layout)
    if before is None or now is None or _wait_key(before) != _wait_key(now):
        send_notification(config, "waiting", sentence, note)


def _wait_key(waiting: Waiting) -> tuple[int, str, str | None]:
    """Identifies a wait, however many answers have come."""
    return waiting.round, waiting.dataset, waiting.question


def notify_failure(config: CampaignConfig, error: Exception, note: Note) -> None:
    """Notify how a campaign failed, and what to do."""
    text = str(error) if isinstance(error, RatchetError) else repr(error)
    send_notification(config, "failure", text, note)


def begin_telling(session: Session) -> None:
    """What an earlier version decided was told by it: it recorded none of that."""
    if session.store.state.told is None:
        decided = {
            str(n): _decision(session.layout, n) for n in range(1, session.config.rounds + 1)
        }
        session.store.remember("told", {n: name for n, name in decided.items() if name is not None})


def notify_decision(session: Session, number: int) -> None:
    """Notify what the gate decided, unless that was told; also what a run that was killed did not
    come to tell."""
    told, decision = session.store.state.told or {}, _decision(session.layout, number)
    if decision is None or told.get(str(number)) == decision:
        return
    row = read_round_metrics(session.layout, number)
    text = f"round {number}: {(row.decision if row is not None else '') or 'finished'}"
    send_notification(session.config, "gate", text, session.progress.notice)
    session.store.remember("told", {**told, str(number): decision})


def _decision(layout: Layout, number: int) -> str | None:
    """Identifies the round's current gate decision; None if there is none."""
    gate = current_artifact(layout, number, "gate")
    return gate.folder.name if gate is not None else None


def _post(url: str, campaign: str, event: Event, text: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    body = {"event": event, "campaign": campaign, "text": "{{body}}"}
    block: Any = CustomWebhookNotificationBlock(
        name="ratchet", url=url, json_data=body, timeout=_TIMEOUT_S
    )
    block.notify(text, subject=campaign, _sync=True)


def _slack(url: str, campaign: str, event: Event, text: str) -> None:
    from prefect.blocks.notifications import SlackWebhook

    block: Any = SlackWebhook(url=url)
    with block.raise_on_failure():
        block.notify(text, subject=f"{campaign}: {event}", _sync=True)
