"""Who is told that a campaign waits, what the gate decided, and what failed.

Prefect's own blocks send it. A campaign never fails because a message could not be sent: that is
said where the campaign says everything else, without the address, which is a secret.
"""

import os
from collections.abc import Callable
from typing import Any, Literal

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.facts import read_round_row
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import Waiting, read_waiting
from dpo_core.errors import RatchetError
from dpo_core.text import visible
from flows.config import CampaignConfig
from flows.session import Session

Event = Literal["waiting", "gate", "failure"]
Note = Callable[[str], None]

_TIMEOUT_S = 10.0


def tell(config: CampaignConfig, event: Event, text: str, note: Note) -> None:
    """Send `text` to all whom the config names for such an event; `note` hears what went wrong."""
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
            said = str(error).replace(url, "…") if url else str(error)
            first = said.strip().splitlines()[0] if send is _post and said.strip() else ""
            kind = type(error).__name__
            note(f"a notification was not sent (address in {variable}): {kind} {first}".rstrip())


def tell_waiting(
    config: CampaignConfig, layout: Layout, before: Waiting | None, sentence: str, note: Note
) -> None:
    """Say once that people are needed; `before`: what the campaign waited for when it began."""
    now = read_waiting(layout)
    if before is None or now is None or _wait(before) != _wait(now):
        tell(config, "waiting", sentence, note)


def _wait(waiting: Waiting) -> tuple[int, str, str | None]:
    """What makes a wait the same one, however many answers have come."""
    return waiting.round, waiting.dataset, waiting.question


def tell_failure(config: CampaignConfig, error: Exception, note: Note) -> None:
    """Say how a campaign failed, and what to do."""
    text = str(error) if isinstance(error, RatchetError) else repr(error)
    tell(config, "failure", text, note)


def decided(layout: Layout, number: int) -> str | None:
    """The decision of that round as the gate made it, for `tell_decision` to tell a new one."""
    made = current_artifact(layout, number, "gate")
    return made.folder.name if made is not None else None


def tell_decision(session: Session, number: int, before: str | None) -> None:
    """Say what the gate decided, unless that was decided `before` the round was played now."""
    if decided(session.layout, number) == before:
        return
    row = read_round_row(session.layout, number) or {}
    text = f"round {number}: {row.get('decision', 'finished')}"
    tell(session.config, "gate", text, session.progress.notice)


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
