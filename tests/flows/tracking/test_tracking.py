"""Trackers are told a campaign's numbers once, whatever fails in between."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import folder_of, mlflow_server
from written_campaign import STEPS, Written

from dpo_core.campaign.layout import Layout
from dpo_core.errors import ConfigError
from flows.config import validate
from flows.tracking.background import Tracking, check_trackers, update_trackers
from flows.tracking.protocol import CampaignRecord, TrackedRound
from flows.tracking.sender import send

ROOT = Path(__file__).parents[3]


class Fake:
    """A tracker in memory that fails where a test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: set[str] = set()
        self.place = "here"

    def made(self, identity: str, folder: Path) -> "Fake":
        self._called("connect")
        return self

    def campaign(self, told: CampaignRecord, run: str | None) -> str:
        self._called("campaign" if run is None else "again")
        return run or "parent"

    def round(self, told: TrackedRound, campaign: CampaignRecord, parent: str) -> str:
        self._called(f"round {told.number} of {parent}")
        return f"run of {told.key}"

    def files(self, files: Sequence[Path], told: CampaignRecord, parent: str) -> None:
        self._called("files " + " ".join(path.name for path in files))

    def finish(self, told: CampaignRecord, parent: str) -> None:
        self._called(f"finished {told.finished}")

    def _called(self, what: str) -> None:
        if what in self.fails:
            raise OSError(f"http://ann:secret@host cannot be reached for {what}\nmore")
        self.calls.append(what)

    def told(self, layout: Layout) -> tuple[list[str], dict[str, str]]:
        self.calls = []
        failed = send(layout, ["fake"], {"fake": self.made})
        return [call for call in self.calls if call not in ("connect", "again")], failed


def test_each_thing_is_told_once(tmp_path: Path) -> None:
    campaign, fake = Written(tmp_path / "c"), Fake()
    campaign.round(1)
    first = ["campaign", "round 1 of parent", "files campaign.yaml", "finished False"]
    assert fake.told(campaign.layout) == (first, {})
    assert fake.told(campaign.layout) == ([], {})
    campaign.round(2)
    campaign.layout.report.write_text("<html>")
    assert fake.told(campaign.layout)[0] == ["round 2 of parent", "files report.html"]
    campaign.round(2, again=1)  # other numbers are another run
    campaign.round(3)
    last = ["round 2 of parent", "round 3 of parent", "finished True"]
    assert fake.told(campaign.layout)[0] == last
    fake.place = "elsewhere"  # another server knows nothing yet
    assert fake.told(campaign.layout)[0][:2] == ["campaign", "round 1 of parent"]


def test_what_failed_is_sent_again_and_nothing_else(tmp_path: Path) -> None:
    campaign, fake = Written(tmp_path / "c"), Fake()
    for number in (1, 2):
        campaign.round(number)
    fake.fails = {"round 2 of parent"}
    calls, failed = fake.told(campaign.layout)
    assert calls == ["campaign", "round 1 of parent"]
    assert failed == {"fake": "OSError: http://…@host cannot be reached for round 2 of parent"}
    fake.fails = set()
    calls, failed = fake.told(campaign.layout)
    assert calls == ["round 2 of parent", "files campaign.yaml", "finished False"] and not failed


def test_one_line_of_the_config() -> None:
    def track(value: Any) -> Any:
        raw = {"policy": {"model": "m"}, "prompts": {"path": "p"}, "judge": {"function": "a:b"}}
        return validate({"name": "n", **raw, "track": value}, "test").track

    assert track("mlflow") == ("mlflow",) and track(["wandb", "mlflow"]) == ("wandb", "mlflow")
    with pytest.raises(ConfigError, match=r"one or a list of mlflow, trackio, wandb \(found 'tb'"):
        track("tb")
    check_trackers(["mlflow", "wandb"])


def test_a_client_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.tracking.background.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        check_trackers(["wandb"])
    assert "pip install -e '.[tracking]'" in refused.value.shown()


def test_a_tracker_that_is_down_is_said_once_and_does_not_hold_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens on port 9 of this machine."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    campaign = Written(tmp_path / "c", track="mlflow")
    campaign.round(1)
    said: list[str] = []
    tracking = Tracking(campaign.layout, ["mlflow"], said.append)
    for _ in range(2):
        tracking.send()
        assert tracking._thread is not None
        tracking._thread.join()
    tracking.close()
    [line] = said
    assert line.startswith("tracker mlflow failed: MlflowException") and "next round" in line
    assert "127.0.0.1" in campaign.layout.log("tracking").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


def tell(campaign: Written, name: str) -> None:
    """As a campaign does, but with the patience that a busy machine needs."""
    said: list[str] = []
    tracking = Tracking(campaign.layout, [name], said.append)
    tracking.send()
    tracking.wait(400)
    assert said == [], campaign.layout.log("tracking").read_text()


def test_mlflow_has_a_run_for_the_campaign_and_one_below_it_for_each_round(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    campaign = Written(tmp_path / "c", track="mlflow")
    rows = [campaign.round(1), campaign.round(2)]
    tell(campaign, "mlflow")
    rows.append(campaign.round(3, **{"measure_<b>&": 0.5}))
    campaign.layout.report.write_text("<html>the report</html>")
    forgotten = json.loads(campaign.layout.tracking.read_text())
    # As if it was killed before it could remember its runs.
    forgotten["trackers"]["mlflow"] |= {"run": None, "rounds": {}}
    campaign.layout.tracking.write_text(json.dumps(forgotten))
    tell(campaign, "mlflow")

    _check_mlflow(MlflowClient(), rows)


def _check_mlflow(client: Any, rows: Sequence[dict[str, Any]]) -> None:
    experiment = client.get_experiment_by_name("ratchet")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["written", *(f"written round {n}" for n in (1, 2, 3))]
    parent = runs["written"]
    assert parent.info.status == "FINISHED" and parent.data.params["policy.model"]
    history = client.get_metric_history(parent.info.run_id, "rounds/win_rate_base")
    assert [(one.step, one.value) for one in history] == [
        (row["round"], pytest.approx(row["win_rate_base"])) for row in rows
    ]
    paths = {one.path for one in client.list_artifacts(parent.info.run_id)}
    assert paths == {"campaign.yaml", "report.html"}
    child = runs["written round 3"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["ratchet.decision"] == "promoted: it won"
    assert child.data.metrics["rounds/measure__b__"] == 0.5
    curve = client.get_metric_history(child.info.run_id, "training/loss")
    assert [one.step for one in curve] == list(range(1, STEPS + 1))
    assert [one.value for one in curve] == pytest.approx([0.6, 0.5, 0.4, 0.3])


def wandb_records(path: Path) -> Iterator[Any]:
    """Of a file that an offline run writes: 7 bytes of head, then LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, block, at, parts = path.read_bytes(), 32_768, 7, b""
    while at + 7 <= len(data):
        if block - at % block < 7:  # too little for a head: filled up
            at += block - at % block
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(found: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in found}


def test_wandb_offline_writes_a_group_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    campaign = Written(tmp_path / "c", track="wandb", rounds=1)
    row = campaign.round(1)
    tell(campaign, "wandb")
    said: list[str] = []
    update_trackers(campaign.root, said.append)  # has nothing left to tell
    assert said == [], campaign.layout.log("tracking").read_text()

    steps: list[tuple[str, int, dict[str, Any]]] = []
    groups, summary = dict[str, str](), dict[str, Any]()
    for path in sorted(campaign.root.glob("tracking/wandb/offline-run-*/*.wandb")):
        kind = ""
        for record in wandb_records(path):
            if record.HasField("run"):
                kind = record.run.job_type
                groups[record.run.run_id] = record.run.run_group
            if record.HasField("history"):
                steps.append((kind, record.history.step.num, items(record.history.item)))
            if kind == "round":
                summary |= items(record.summary.update)
    assert len(groups) == 2 and len(set(groups.values())) == 1
    curve = [(step, found["training/loss"]) for kind, step, found in steps if kind == "round"]
    assert curve == [(n, pytest.approx(0.7 - 0.1 * n)) for n in range(1, STEPS + 1)]
    [(step, found)] = [(step, found) for kind, step, found in steps if kind == "campaign"]
    assert step == 1 and found["rounds/win_rate_base"] == row["win_rate_base"]
    assert summary["decision"] == "promoted: it won"


def test_trackio_on_this_machine(tmp_path: Path) -> None:
    """In a process of its own: its pillow is older than ours."""
    packages = folder_of("trackio-0.43.0", ("trackio==0.43.0", "gradio-client==2.7.2", "brotli"))
    campaign = Written(tmp_path / "c", track="trackio", rounds=1)
    row = campaign.round(1)
    program = """
import json, sys
from pathlib import Path
from dpo_core.campaign.layout import Layout
from flows.tracking.sender import send
layout = Layout(Path(sys.argv[1]))
for _ in range(2):
    assert send(layout, ["trackio"]) == {}
import trackio
runs = trackio.Api().runs("ratchet")
found = {run.name: trackio.SQLiteStorage.get_logs("ratchet", run.name) for run in runs}
print("FOUND", json.dumps([found, [run.config["_Group"] for run in runs]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(campaign.root)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]),
            "TRACKIO_DIR": str(tmp_path / "trackio"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found, groups = json.loads(done.stdout.partition("FOUND ")[2].splitlines()[0])
    (parent, its), (child, curve) = sorted(found.items())
    assert child.startswith(f"{parent} round 1-") and len(set(groups)) == 1
    [only] = its
    assert only["step"] == 1 and only["rounds/win_rate_base"] == row["win_rate_base"]
    assert only["decision"] == "promoted: it won"
    assert [one["step"] for one in curve] == list(range(1, STEPS + 2))
    assert curve[-1]["rounds/win_rate_base"] == row["win_rate_base"]
