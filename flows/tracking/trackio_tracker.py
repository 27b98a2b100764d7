"""Trackio: a group of runs, one for the campaign and one for each round."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flows.tracking.protocol import (
    PROJECT,
    CampaignRecord,
    TrackedRound,
    metric_name,
    rename_metrics,
)


class TrackioTracker:
    """Sends to this machine's Trackio, or to TRACKIO_SPACE_ID or TRACKIO_SERVER_URL."""

    def __init__(self, identity: str, folder: Path) -> None:
        import trackio

        self._trackio = trackio
        self._identity = identity
        self._project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        where = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL", "")
        # A server's URL may contain its token.
        self.place = f"{where.partition('?')[0] or trackio.TRACKIO_DIR} {self._project}"

    def campaign(self, campaign: CampaignRecord, run: str | None) -> str:
        if run is None:
            run = f"{campaign.name}-{self._identity}"
            with self._run(run, campaign):
                pass
        return run

    def round(self, record: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        name = f"{parent} round {record.key}"
        with self._run(name, campaign):
            for step, numbers in record.curve.items():
                self._trackio.log(rename_metrics(numbers), step=step)
            last = max(record.curve, default=0) + 1
            self._trackio.log({**rename_metrics(record.numbers), **record.texts}, step=last)
        with self._run(parent, campaign):
            texts = {"headline": campaign.headline, "decision": record.texts["decision"]}
            self._trackio.log({**rename_metrics(record.numbers), **texts}, step=record.number)
        return name

    def files(self, files: Sequence[Path], campaign: CampaignRecord, parent: str) -> None:
        with self._run(parent, campaign):
            for path in files:
                name = f"{metric_name(campaign.name)}-{self._identity}-{path.stem}"
                self._trackio.log_artifact(path, name=name, type=path.stem)

    def finish(self, campaign: CampaignRecord, parent: str) -> None:
        """Nothing to do: a run is finished whenever nothing is sent."""

    @contextmanager
    def _run(self, name: str, campaign: CampaignRecord) -> Iterator[None]:
        self._trackio.init(
            self._project,
            name=name,
            group=f"{campaign.name}-{self._identity}",
            config=dict(campaign.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        try:
            yield
        finally:
            self._trackio.finish()
