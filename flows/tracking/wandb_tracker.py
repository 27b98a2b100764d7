"""Weights & Biases: a group of runs, one for the campaign and one for each round."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from flows.tracking.protocol import (
    PROJECT,
    CampaignRecord,
    TrackedRound,
    metric_name,
    rename_metrics,
)


class WandbTracker:
    """Takes key, mode and place from its own variables: WANDB_API_KEY, WANDB_MODE, …"""

    def __init__(self, identity: str, folder: Path) -> None:
        self._identity = identity
        self._folder = Path(os.environ.get("WANDB_DIR") or folder)
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_MODE")
        self.place = " ".join([*(os.environ.get(name, "") for name in names), self._project])

    def campaign(self, campaign: CampaignRecord, run: str | None) -> str:
        if run is None:
            with self._run_of(campaign, self._identity):
                return self._identity
        return run

    def round(self, record: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        identity, name = f"{self._identity}-{record.key}", f"{campaign.name} round {record.number}"
        with self._run(campaign, identity, name, "round", record.texts["verdict"]) as run:
            for step, numbers in record.curve.items():
                run.log(rename_metrics(numbers), step=step)
            run.summary.update({**rename_metrics(record.numbers), **record.texts})
        with self._run_of(campaign, parent) as run:
            run.log(rename_metrics(record.numbers), step=record.number)
        return identity

    def files(self, files: Sequence[Path], campaign: CampaignRecord, parent: str) -> None:
        with self._run_of(campaign, parent) as run:
            for path in files:
                name = f"{metric_name(campaign.name)}-{self._identity}-{path.stem}"
                run.log_artifact(str(path), name=name, type=path.stem)

    def finish(self, campaign: CampaignRecord, parent: str) -> None:
        """Nothing to do: a run is finished whenever nothing is sent."""

    def _run_of(self, campaign: CampaignRecord, identity: str) -> AbstractContextManager[Any]:
        return self._run(campaign, identity, campaign.name, "campaign", campaign.headline)

    @contextmanager
    def _run(
        self, campaign: CampaignRecord, identity: str, name: str, kind: str, notes: str
    ) -> Iterator[Any]:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self._project,
            id=identity,
            resume="allow",
            name=name,
            group=f"{campaign.name}-{self._identity}",
            job_type=kind,
            notes=notes,
            config=dict(campaign.config),
            dir=str(self._folder),
            settings=wandb.Settings(
                init_timeout=30,
                silent=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                x_disable_meta=True,
            ),
        )
        try:
            yield run
        finally:
            run.finish()
