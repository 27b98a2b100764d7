"""Trackio: a group of runs, one for the campaign and one for each round."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.tracking.protocol import PROJECT, CampaignRecord, TrackedRound, metric_name, named


class TrackioTracker:
    """On this machine, or where TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says."""

    def __init__(self, identity: str, folder: Path) -> None:
        import trackio

        self._trackio = trackio
        self._identity = identity
        self._project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        where = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL", "")
        # The URL of a server may hold its token.
        self.place = f"{where.partition('?')[0] or trackio.TRACKIO_DIR} {self._project}"

    def campaign(self, told: CampaignRecord, run: str | None) -> str:
        if run is None:
            run = f"{told.name}-{self._identity}"
            with self._run(run, told):
                pass
        return run

    def round(self, told: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        name = f"{parent} round {told.key}"
        with self._run(name, campaign):
            for step, numbers in told.curve.items():
                self._trackio.log(named(numbers), step=step)
            last = max(told.curve, default=0) + 1
            self._trackio.log({**named(told.numbers), **told.texts}, step=last)
        with self._run(parent, campaign):
            texts = {"headline": campaign.headline, "decision": told.texts["decision"]}
            self._trackio.log({**named(told.numbers), **texts}, step=told.number)
        return name

    def files(self, files: Sequence[Path], told: CampaignRecord, parent: str) -> None:
        with self._run(parent, told):
            for path in files:
                name = f"{metric_name(told.name)}-{self._identity}-{path.stem}"
                self._trackio.log_artifact(path, name=name, type=path.stem)

    def finish(self, told: CampaignRecord, parent: str) -> None:
        """A run is finished whenever nothing is sent."""

    @contextmanager
    def _run(self, name: str, told: CampaignRecord) -> Iterator[None]:
        self._trackio.init(
            self._project,
            name=name,
            group=f"{told.name}-{self._identity}",
            config=dict(told.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            yield
        finally:
            self._trackio.finish()
