"""The child process that sends trackers what they lack (`python -m flows.tracking.sender`).

Tracker clients start threads and processes, wait for networks and may hang, so they stay out of the
campaign's process.
"""

import json
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout
from dpo_core.children import Report, serve_jobs
from dpo_core.errors import RatchetError
from dpo_core.file_lock import Holder, hold
from dpo_core.hashing import file_sha256
from dpo_core.jobs import job_kinds
from flows.tracking.background import SendJob, SendResult
from flows.tracking.mlflow_tracker import MlflowTracker
from flows.tracking.protocol import (
    CampaignRecord,
    Tracker,
    read_campaign,
    read_round,
    without_secrets,
)
from flows.tracking.trackio_tracker import TrackioTracker
from flows.tracking.wandb_tracker import WandbTracker


@dataclass
class SentTo:
    """What one tracker has received at one `place`.

    run: the campaign's; rounds: key → run; files: name → hash; finished: the last state sent.
    """

    place: str = ""
    run: str | None = None
    rounds: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    finished: bool | None = None


class Sent:
    """The campaign's file of what was sent; `identity` names the campaign at all trackers.

    Saved before anything is sent, so that a run created just before a crash is found again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.identity: str = stored.get("identity") or secrets.token_hex(4)
        trackers = stored.get("trackers", {}).items()
        self._trackers = {name: SentTo(**sent) for name, sent in trackers}
        self.save()

    def to(self, tracker: str, place: str) -> SentTo:
        """What `tracker` has received at `place`."""
        if self._trackers.get(tracker, SentTo()).place != place:
            self._trackers[tracker] = SentTo(place)
        return self._trackers[tracker]

    def save(self) -> None:
        trackers = {name: asdict(sent) for name, sent in self._trackers.items()}
        write_json(self._path, {"identity": self.identity, "trackers": trackers})


Kind = Callable[[str, Path], Tracker]
KINDS: Mapping[str, Kind] = {
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
    "wandb": WandbTracker,
}
_PATIENCE_S = 30.0
_SHOWN = 200


def send(layout: Layout, names: Sequence[str], kinds: Mapping[str, Kind] = KINDS) -> dict[str, str]:
    """Send each tracker what it lacks. Returns tracker → reason for those that failed.

    Raises RatchetError while another process is sending.
    """
    failed = {}
    with hold(layout.tracking_lock, _refusal, patience_s=_PATIENCE_S):
        sent, campaign = Sent(layout.tracking), read_campaign(layout)
        for name in names:
            try:
                tracker = kinds[name](sent.identity, layout.root / "tracking")
                _send(tracker, sent.to(name, tracker.place), layout, campaign, sent.save)
            except Exception as error:  # clients raise anything
                sys.excepthook(type(error), error, error.__traceback__)
                failed[name] = _first_line(error)
    return failed


def _send(
    tracker: Tracker,
    sent: SentTo,
    layout: Layout,
    campaign: CampaignRecord,
    save: Callable[[], None],
) -> None:
    sent.run = tracker.campaign(campaign, sent.run)
    save()
    for number, key in campaign.rounds.items():
        if key not in sent.rounds:
            sent.rounds[key] = tracker.round(read_round(layout, number), campaign, sent.run)
            save()
    hashes = {path.name: file_sha256(path) for path in campaign.files}
    changed = [path for path in campaign.files if hashes[path.name] != sent.files.get(path.name)]
    if changed:
        tracker.files(changed, campaign, sent.run)
        sent.files = hashes
    if sent.finished != campaign.finished:
        tracker.finish(campaign, sent.run)
        sent.finished = campaign.finished
    save()


def _refusal(other: Holder) -> RatchetError:
    return RatchetError(
        f"process {other['pid']} on {other['host']} is already sending to the trackers"
    )


def _first_line(error: Exception) -> str:
    """The error's type and first line, without secrets."""
    lines = str(error).strip().splitlines() or [""]
    return without_secrets(f"{type(error).__name__}: {lines[0]}")[:_SHOWN]


def _carry_out(job: SendJob, report: Report) -> SendResult:
    return SendResult(failed=send(Layout(job.campaign), job.trackers))


if __name__ == "__main__":
    serve_jobs(job_kinds(SendJob), _carry_out)
