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
    rename_metrics,
    without_secrets,
)

_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow retries for many minutes by default; here, the next round does."""
_METRICS, _PARAMS = 1000, 100
"""The most of each in one request."""
_VALUE = 6000
_ID = "ratchet.id"


class MlflowTracker:
    """Sends to MLFLOW_TRACKING_URI, experiment MLFLOW_EXPERIMENT_NAME or `ratchet`."""

    def __init__(self, identity: str, folder: Path) -> None:
        for name, value in _LIMITS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient()
        self._identity = identity
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        self.place = without_secrets(f"{self._client.tracking_uri} {name}")
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id if experiment else self._client.create_experiment(name)
        )

    def campaign(self, campaign: CampaignRecord, run: str | None) -> str:
        if run is None:
            run = self._run(self._identity, {"mlflow.runName": campaign.name})
            self._params(run, campaign.config)
        self._client.set_tag(run, "mlflow.note.content", campaign.headline)
        return run

    def round(self, record: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        tags = {
            "mlflow.runName": f"{campaign.name} round {record.number}",
            "mlflow.parentRunId": parent,
            "mlflow.note.content": f"{record.texts['verdict']}\n\n{record.texts['decision']}",
            **{f"ratchet.{name}": text for name, text in record.texts.items()},
        }
        run = self._run(f"{self._identity}/{record.key}", tags)
        self._params(run, campaign.config)
        at = round(record.at * 1000)
        self._numbers(run, {record.number: record.numbers}, at)
        self._numbers(run, record.curve, at)
        self._numbers(parent, {record.number: record.numbers}, at)
        self._client.set_terminated(run)
        return run

    def files(self, files: Sequence[Path], campaign: CampaignRecord, parent: str) -> None:
        for path in files:
            self._client.log_artifact(parent, str(path))

    def finish(self, campaign: CampaignRecord, parent: str) -> None:
        if campaign.finished:
            self._client.set_terminated(parent)
        else:
            self._client.update_run(parent, status="RUNNING")

    def _run(self, identity: str, tags: Mapping[str, str]) -> str:
        """A new run, or one that a killed process created without recording it."""
        query = f"tags.`{_ID}` = '{identity}'"
        for run in self._client.search_runs([self._experiment], query, max_results=1):
            return str(run.info.run_id)
        run = self._client.create_run(self._experiment, tags={_ID: identity, **tags})
        return str(run.info.run_id)

    def _params(self, run: str, config: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        params = [Param(metric_name(key), text[:_VALUE]) for key, text in config.items()]
        for batch in batched(params, _PARAMS):
            self._client.log_batch(run, params=batch)

    def _numbers(self, run: str, rows: Mapping[int, Mapping[str, float]], at: int) -> None:
        """Log metrics. Repeated ones have the same timestamp, so that MLflow keeps them once."""
        from mlflow.entities import Metric

        metrics: list[Any] = [
            Metric(name, value, at, step)
            for step, row in rows.items()
            for name, value in rename_metrics(row).items()
        ]
        for batch in batched(metrics, _METRICS):
            self._client.log_batch(run, metrics=batch)
