"""No part of Ratchet's processes calls home: looked at from the kernel, as a user runs them."""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from called import calls_elsewhere, traced, tracing
from small_campaign import RUN, Campaign
from user_folder import ROOT, TIMEOUT_S, TINY, user_folder
from written_campaign import Written

from dpo_core.campaign.layout import Layout
from dpo_core.children import SILENT
from flows.prefect.server import free_port
from labeling.audit.checks import CHECKS
from tests.flows.tracking.mlflow_server import folder_of
from tests.until import until

SCALE = ROOT / "docs" / "scale.md"
CLOUDS = ("169.254.169.254", "metadata\\6google\\10internal")
"""The addresses at which clouds describe a machine, as strace writes them."""
KNOCKS = """
import socket

for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
    with socket.socket(type=kind) as silent:
        silent.setblocking(False)
        if kind == socket.SOCK_DGRAM:
            silent.connect(("203.0.113.1", 80))  # sends nothing
            silent.getsockname()
            silent.sendto(b"hello", ("203.0.113.2", 80))
        else:
            silent.connect_ex(("203.0.113.3", 80))
try:
    socket.getaddrinfo("home.invalid", 443)
except OSError:
    pass
"""
TELL = """
import sys
from collections.abc import Iterable
from pathlib import Path
from flows.tracking.background import update_trackers

update_trackers(Path(sys.argv[1]), sys.exit)
"""
ANSWER = """
import sys
from collections.abc import Iterable
from pathlib import Path
from labeling.server import running

with running(Path(sys.argv[1])):
    pass
"""


@pytest.fixture(autouse=True)
def strace() -> None:
    if shutil.which("strace") is None:
        pytest.fail("this test needs strace; as root: apt-get install -y strace")


def calls(folder: Path, *words: str, **variables: str) -> list[str]:
    """The calls elsewhere of a Python that is started in a folder with these words and variables,
    and with none that tests or Ratchet set elsewhere."""
    trace = folder / "trace"
    kept = {name: value for name, value in os.environ.items() if name not in SILENT}
    done = traced(
        *([sys.executable, *words], trace, {**kept, "PYTHONPATH": str(ROOT), **variables}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [*calls_elsewhere(trace)]


def test_a_call_is_seen(tmp_path: Path) -> None:
    seen = calls(tmp_path, "-c", KNOCKS)
    assert "203.0.113.1" not in str(seen)
    assert "203.0.113.2" in seen[0] and "203.0.113.3" in seen[1]
    assert "home" in "".join(seen[2:])


def test_trackers_call_nobody(tmp_path: Path) -> None:
    """Those on this machine, which have nothing to reach."""
    packages = folder_of("trackio-0.43.0", ("trackio==0.43.0", "gradio-client==2.7.2", "brotli"))
    campaign = Written(tmp_path / "c", track=["mlflow", "trackio", "wandb"], rounds=1)
    campaign.round(1)
    variables = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlflow").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }
    assert calls(tmp_path, "-c", TELL, str(campaign.root), **variables) == []
    told = json.loads(campaign.layout.tracking.read_text())["trackers"]
    assert sorted(told) == ["mlflow", "trackio", "wandb"]
    assert all(one["finished"] for one in told.values())


def test_a_campaign_with_prefects_server_calls_nobody(tmp_path: Path) -> None:
    user_folder(tmp_path)
    config = {**TINY, "name": "quiet", "rounds": 1, "audit": {"allow": list(CHECKS)}}
    (tmp_path / "quiet.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run = ("-m", "flows.cli", "run", "quiet.yaml", "--campaign-dir", "campaign")
    assert calls(tmp_path, *run) == []
    assert Layout(tmp_path / "campaign").prefect.exists()


@pytest.mark.proof
def test_engines_on_a_cluster_call_nobody(tmp_path: Path) -> None:
    """vLLM, on a Ray cluster that the run starts."""
    campaign = Campaign.create(tmp_path)
    width = "policy.build_args.hidden_size=256"  # vLLM takes no narrower heads
    changes = ("rounds=1", width, "sampling.engine=vllm", "compute.kind=ray")
    options = [part for change in changes for part in ("--set", change)]
    assert beyond_clouds(calls(tmp_path, "-m", "flows.cli", *RUN, *options)) == []
    made = {entry.step for entry in campaign.entries()}
    assert {"completions", "training", "gate"} <= made


@pytest.mark.proof
def test_a_cluster_started_as_documented_calls_nobody(tmp_path: Path) -> None:
    """Ray's head reports where it is told to, which is nowhere."""
    lines = SCALE.read_text(encoding="utf-8").splitlines()
    exports = [line.partition(" #")[0].split()[1] for line in lines if "export RAY_USAGE" in line]
    variables = dict(export.split("=", 1) for export in exports)
    assert variables == {name: SILENT[name] for name in variables} and len(variables) == 2
    trace, ray = tmp_path / "trace", str(Path(sys.executable).with_name("ray"))
    head = ("--head", "--block", f"--port={free_port()}", "--num-cpus=1")
    kept = {name: value for name, value in os.environ.items() if name not in SILENT}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    with tracing([ray, "start", *head], trace, {**kept, **token, **variables}, cwd=tmp_path):
        nowhere = "sin_port=htons(9)"
        until(lambda: nowhere in trace.read_text(errors="replace"), lambda: "it never reported")
    assert beyond_clouds(calls_elsewhere(trace)) == []


def beyond_clouds(calls: Iterable[str]) -> list[str]:
    """Without those by which Ray's head asks which cloud it is in; no setting of it prevents them,
    and with reports switched off the answer stays on the machine."""
    return [call for call in calls if not any(mark in call for mark in CLOUDS)]


@pytest.mark.proof
def test_the_label_server_calls_nobody(tmp_path: Path) -> None:
    assert calls(tmp_path, "-c", ANSWER, str(tmp_path / "labels")) == []
