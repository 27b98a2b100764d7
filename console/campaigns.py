"""The campaigns that the console shows, read again when their files change."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from dpo_core.campaign.layout import Layout, find_campaigns, submitted_campaigns
from dpo_core.campaign.lock import holder
from dpo_core.campaign.waiting import Waiting, read_waiting
from dpo_core.errors import RatchetError
from dpo_core.hashing import content_id
from reporting.summary import CampaignSummary, read_summary

_ID = 10
"""Characters of a campaign's id in addresses."""

Signature = tuple[object, ...]
"""What changes when anything of a campaign changes that the console shows."""


@dataclass(frozen=True)
class ShownCampaign:
    """A campaign, or why it cannot be read. waiting: what it asks people for."""

    id: str
    root: Path
    summary: CampaignSummary | None
    waiting: Waiting | None
    fault: str = ""

    @property
    def name(self) -> str:
        return self.summary.name if self.summary is not None else self.root.name

    @property
    def place(self) -> str:
        """Its folder, where that says more than the name."""
        return "" if self.root.name == self.name else f"{self.root.parent.name}/{self.root.name}"

    @property
    def state(self) -> str:
        if self.summary is None:
            return "unreadable"
        return "failed" if self.summary.failure is not None else self.summary.state

    @property
    def layout(self) -> Layout:
        return Layout(self.root)


@dataclass
class Board:
    """All campaigns in `places`, each a campaign or a folder of campaigns, and those that
    were submitted to the worker in that folder."""

    places: Sequence[Path]
    worker: Path | None = None
    _seen: dict[Path, tuple[Signature, ShownCampaign]] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def _roots(self) -> list[Path]:
        submitted = [] if self.worker is None else submitted_campaigns(Layout(self.worker))
        return find_campaigns([*self.places, *submitted])

    def signature(self) -> Signature:
        """Differs when any campaign is new, gone or has changed."""
        return tuple((str(root), *_signature(Layout(root))) for root in self._roots())

    def all(self) -> list[ShownCampaign]:
        """Last changed first."""
        with ThreadPoolExecutor(4) as readers:
            shown = list(readers.map(self._read, self._roots()))
        return sorted(shown, key=lambda one: _changed_at(one.layout), reverse=True)

    def find(self, id: str) -> ShownCampaign | None:
        """The campaign with that id; None if it is not, or no longer, in these places."""
        root = next((root for root in self._roots() if _id_of(root) == id), None)
        return None if root is None else self._read(root)

    def _read(self, root: Path) -> ShownCampaign:
        layout = Layout(root)
        signature = _signature(layout)
        with self._lock:
            seen = self._seen.get(root)
        if seen is not None and seen[0] == signature:
            return seen[1]
        try:
            summary = read_summary(root, samples=False)
            shown = ShownCampaign(_id_of(root), root, summary, read_waiting(layout))
        except (RatchetError, OSError, ValueError, KeyError) as error:
            shown = ShownCampaign(_id_of(root), root, None, None, str(error))
        with self._lock:
            self._seen[root] = signature, shown
        return shown


def _id_of(root: Path) -> str:
    return content_id("campaign", str(root))[:_ID]


def _signature(layout: Layout) -> Signature:
    return (holder(layout.lock) is not None, *_stamps(layout))


def _stamps(layout: Layout) -> Iterator[tuple[int, int] | None]:
    watched = (
        *(layout.config, layout.ledger, layout.current, layout.waiting, layout.failure),
        *(layout.decisions, layout.progress, layout.workers, layout.storage),
    )
    for path in watched:
        try:
            stat = path.stat()
        except OSError:
            yield None
        else:
            yield stat.st_mtime_ns, stat.st_size


def _changed_at(layout: Layout) -> float:
    try:
        return layout.ledger.stat().st_mtime
    except OSError:
        return 0.0
