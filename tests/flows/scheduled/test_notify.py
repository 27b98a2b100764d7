"""Who is told what, and that a campaign does not care when nobody can be told."""

from pathlib import Path
from typing import Any

import pytest
from inbox import Inbox
from record_session import open_session
from written_campaign import Written

from dpo_core.errors import ChildDied
from flows.config import CampaignConfig
from flows.notify import begin_telling, notify_decision, notify_failure, send_notification

HOOK = "RATCHET_TEST_HOOK"
SLACK_PATH = "T0000000A/B0000000B/123456789012345678901234"


def config(**notify: Any) -> CampaignConfig:
    return CampaignConfig.model_validate(
        {
            "name": "tiny",
            "policy": {"model": "none"},
            "prompts": {"path": "prompts.jsonl"},
            "judge": {"function": "m:f"},
            "notify": notify,
        }
    )


def test_a_webhook_gets_the_event_the_campaign_and_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    with Inbox() as inbox:
        monkeypatch.setenv(HOOK, inbox.url)
        send_notification(
            config(webhook=HOOK), "gate", 'round 1: "promoted" {{body}}\x1b[31m', said.append
        )
        notify_failure(config(webhook=HOOK), ChildDied("it died", "type it again"), said.append)
        send_notification(config(webhook=HOOK, on=["gate"]), "failure", "unwanted", said.append)
        send_notification(config(), "gate", "to nobody", said.append)
    assert said == []
    gate, failure = inbox.came
    assert (gate["event"], gate["campaign"]) == ("gate", "tiny")
    assert gate["text"].startswith('round 1: "promoted" {{body}}')
    assert "\x1b" not in gate["text"]
    assert failure == {"event": "failure", "campaign": "tiny", "text": "it died\ntype it again"}


def test_each_decision_is_told_by_the_next_run_if_not_by_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def decide(number: int, again: int = 0) -> None:
        Written(tmp_path / "c", notify={"webhook": HOOK}).round(number, again)

    def run(*rounds: int) -> None:
        """As a run does; each is told of, unless the run is killed before."""
        with open_session(tmp_path / "c", notify={"webhook": HOOK}, rounds=3) as session:
            begin_telling(session)
            for number in rounds:
                notify_decision(session, number)

    with Inbox() as inbox:
        monkeypatch.setenv(HOOK, inbox.url)
        decide(1)
        run(1)  # the first run by a version that records it: an earlier one told of round 1
        assert inbox.came == []
        decide(2)
        run()
        run(1, 2)
        run(1, 2)
        decide(2, again=1)  # another decision
        run(1, 2)
    assert [came["text"].partition(":")[0] for came in inbox.came] == ["round 2", "round 2"]


# apprise, by which Prefect sends it, imports a module that Python 3.11 calls old.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_slack_is_told_by_prefects_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.slack import NotifySlack

    said: list[str] = []
    with Inbox() as inbox:
        # The one thing that is not Slack's: where its web hooks live.
        monkeypatch.setattr(NotifySlack, "webhook_url", inbox.url)
        monkeypatch.setenv(HOOK, f"https://hooks.slack.com/services/{SLACK_PATH}")
        send_notification(config(slack=HOOK), "waiting", "round 1 waits for people", said.append)
    assert said == []
    (came,) = inbox.came
    assert "round 1 waits for people" in str(came)
    assert "tiny: waiting" in str(came)


@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_what_cannot_be_sent_is_said_without_the_address(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    send_notification(config(**{kind: HOOK}), "gate", "round 1", said.append)
    assert said[0].endswith(f"LookupError the environment variable {HOOK} is not set") or (
        kind == "slack" and said[0].endswith("LookupError")
    )
    monkeypatch.setenv(HOOK, "http://127.0.0.1:9/s3cret")  # nobody listens there
    send_notification(config(**{kind: HOOK}), "gate", "round 1", said.append)
    assert len(said) == 2
    assert said[1].startswith(f"notification not sent (address in {HOOK}): ")
    assert "s3cret" not in said[1]
