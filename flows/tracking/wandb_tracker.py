"""Weights & Biases: a group of runs, one for the campaign and one for each round."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.tracking.protocol import PROJECT, CampaignRecord, TrackedRound, metric_name, named


class WandbTracker:
    """Its key, mode and place come from its own variables: WANDB_API_KEY, WANDB_MODE, …"""

    def __init__(self, identity: str, folder: Path) -> None:
        self._identity = identity
        self._folder = Path(os.environ.get("WANDB_DIR") or folder)
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_MODE")
        self.place = " ".join([*(os.environ.get(name, "") for name in names), self._project])

    def campaign(self, told: CampaignRecord, run: str | None) -> str:
        if run is None:
            with self._run(told, self._identity, told.name, "campaign", told.headline):
                return self._identity
        return run

    def round(self, told: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        identity, name = f"{self._identity}-{told.key}", f"{campaign.name} round {told.number}"
        with self._run(campaign, identity, name, "round", told.texts["verdict"]) as run:
            for step, numbers in told.curve.items():
                run.log(named(numbers), step=step)
            run.summary.update({**named(told.numbers), **told.texts})
        with self._run(campaign, parent, campaign.name, "campaign", campaign.headline) as run:
            run.log(named(told.numbers), step=told.number)
        return identity

    def files(self, files: Sequence[Path], told: CampaignRecord, parent: str) -> None:
        with self._run(told, parent, told.name, "campaign", told.headline) as run:
            for path in files:
                name = f"{metric_name(told.name)}-{self._identity}-{path.stem}"
                run.log_artifact(str(path), name=name, type=path.stem)

    def finish(self, told: CampaignRecord, parent: str) -> None:
        """A run is finished whenever nothing is sent."""

    @contextmanager
    def _run(
        self, told: CampaignRecord, identity: str, name: str, kind: str, notes: str
    ) -> Iterator[Any]:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self._project,
            id=identity,
            resume="allow",
            name=name,
            group=f"{told.name}-{self._identity}",
            job_type=kind,
            notes=notes,
            config=dict(told.config),
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
