"""MLflow: a run for the campaign, and a nested run for each round."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.tables import batched
from flows.tracking.protocol import (
    PROJECT,
    CampaignRecord,
    TrackedRound,
    metric_name,
    named,
    without_secrets,
)

_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow would try for many minutes; here the next round tries again."""
_METRICS, _PARAMS = 1000, 100
"""The most that one request may hold."""
_VALUE = 6000
_ID = "ratchet.id"


class MlflowTracker:
    """Its server is MLFLOW_TRACKING_URI, its experiment MLFLOW_EXPERIMENT_NAME or `ratchet`."""

    def __init__(self, identity: str, folder: Path) -> None:
        for name, value in _LIMITS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient()
        self._identity = identity
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        self.place = without_secrets(f"{self._client.tracking_uri} {name}")
        found = self._client.get_experiment_by_name(name)
        self._experiment = (
            found.experiment_id if found is not None else self._client.create_experiment(name)
        )

    def campaign(self, told: CampaignRecord, run: str | None) -> str:
        if run is None:
            run = self._run(self._identity, {"mlflow.runName": told.name})
            self._params(run, told.config)
        self._client.set_tag(run, "mlflow.note.content", told.headline)
        return run

    def round(self, told: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        tags = {
            "mlflow.runName": f"{campaign.name} round {told.number}",
            "mlflow.parentRunId": parent,
            "mlflow.note.content": f"{told.texts['verdict']}\n\n{told.texts['decision']}",
            **{f"ratchet.{name}": text for name, text in told.texts.items()},
        }
        run = self._run(f"{self._identity}/{told.key}", tags)
        self._params(run, campaign.config)
        at = round(told.at * 1000)
        self._numbers(run, {told.number: told.numbers}, at)
        self._numbers(run, told.curve, at)
        self._numbers(parent, {told.number: told.numbers}, at)
        self._client.set_terminated(run)
        return run

    def files(self, files: Sequence[Path], told: CampaignRecord, parent: str) -> None:
        for path in files:
            self._client.log_artifact(parent, str(path))

    def finish(self, told: CampaignRecord, parent: str) -> None:
        if told.finished:
            self._client.set_terminated(parent)
        else:
            self._client.update_run(parent, status="RUNNING")

    def _run(self, identity: str, tags: Mapping[str, str]) -> str:
        """A new run; or one that was made and then forgotten, by a process that was killed."""
        made = f"tags.`{_ID}` = '{identity}'"
        for run in self._client.search_runs([self._experiment], made, max_results=1):
            return str(run.info.run_id)
        run = self._client.create_run(self._experiment, tags={_ID: identity, **tags})
        return str(run.info.run_id)

    def _params(self, run: str, config: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(metric_name(key), text[:_VALUE]) for key, text in config.items()]
        for batch in batched(params, _PARAMS):
            self._client.log_batch(run, params=batch)

    def _numbers(self, run: str, rows: Mapping[int, Mapping[str, float]], at: int) -> None:
        """With the same time they are the same numbers to MLflow, and kept once."""
        from mlflow.entities import Metric

        metrics: list[Any] = [
            Metric(name, value, at, step)
            for step, row in rows.items()
            for name, value in named(row).items()
        ]
        for batch in batched(metrics, _METRICS):
            self._client.log_batch(run, metrics=batch)
