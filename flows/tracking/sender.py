"""The process that tells trackers what they have not been told: `python -m flows.tracking.sender`,
driven through dpo_core.children.

Clients of trackers start threads and processes, wait for networks, and may hang: none of that
happens where the campaign runs. Request: {"root", "trackers"}; result: {"failed": tracker → why}.
"""

import json
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import Layout
from dpo_core.children import Report, serve
from dpo_core.errors import RatchetError
from dpo_core.file_lock import Holder, hold
from dpo_core.hashing import file_sha256
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
    """What one tracker has. place: where it keeps it; another place has nothing yet.

    run: the campaign's; rounds: key → run; files: name → hash; finished: whether it was told so.
    """

    place: str = ""
    run: str | None = None
    rounds: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    finished: bool | None = None


class Sent:
    """The file of a campaign; `identity` names the campaign wherever it is told of.

    It is written before anything is sent, so that a run that nobody remembers is found again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.identity: str = found.get("identity") or secrets.token_hex(4)
        self._trackers = {name: SentTo(**told) for name, told in found.get("trackers", {}).items()}
        self.save()

    def to(self, tracker: str, place: str) -> SentTo:
        """What `tracker` has at `place`."""
        if self._trackers.get(tracker, SentTo()).place != place:
            self._trackers[tracker] = SentTo(place)
        return self._trackers[tracker]

    def save(self) -> None:
        trackers = {name: asdict(told) for name, told in self._trackers.items()}
        write_json(self._path, {"identity": self.identity, "trackers": trackers})


KINDS: Mapping[str, Callable[[str, Path], Tracker]] = {
    "mlflow": MlflowTracker,
    "trackio": TrackioTracker,
    "wandb": WandbTracker,
}
_PATIENCE_S = 30.0
_SHOWN = 200


def send(layout: Layout, names: list[str], kinds: Mapping[str, Any] = KINDS) -> dict[str, str]:
    """Tell each tracker what it lacks; tracker → why it could not be told, for those that failed.

    Raises RatchetError while another process tells.
    """
    failed = {}
    with hold(layout.tracking_lock, _refusal, patience_s=_PATIENCE_S):
        sent, campaign = Sent(layout.tracking), read_campaign(layout)
        for name in names:
            try:
                tracker = kinds[name](sent.identity, layout.root / "tracking")
                _tell(tracker, name, layout, campaign, sent)
            except Exception as error:  # whatever clients raise, and they raise anything
                sys.excepthook(type(error), error, error.__traceback__)
                failed[name] = _said(error)
    return failed


def _tell(
    tracker: Tracker, name: str, layout: Layout, campaign: CampaignRecord, sent: Sent
) -> None:
    told = sent.to(name, tracker.place)
    told.run = tracker.campaign(campaign, told.run)
    sent.save()
    for number, key in campaign.rounds.items():
        if key not in told.rounds:
            told.rounds[key] = tracker.round(read_round(layout, number), campaign, told.run)
            sent.save()
    hashes = {path.name: file_sha256(path) for path in campaign.files}
    changed = [path for path in campaign.files if hashes[path.name] != told.files.get(path.name)]
    if changed:
        tracker.files(changed, campaign, told.run)
        told.files = hashes
    if told.finished != campaign.finished:
        tracker.finish(campaign, told.run)
        told.finished = campaign.finished
    sent.save()


def _refusal(found: Holder) -> RatchetError:
    return RatchetError(f"process {found['pid']} on {found['host']} tells the trackers already")


def _said(error: Exception) -> str:
    """One line, without secrets."""
    lines = str(error).strip().splitlines() or [""]
    return without_secrets(f"{type(error).__name__}: {lines[0]}")[:_SHOWN]


def _handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    return {"failed": send(Layout(Path(request["root"])), request["trackers"])}


if __name__ == "__main__":
    serve(_handle)
