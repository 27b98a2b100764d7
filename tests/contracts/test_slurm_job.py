"""deploy/ray/campaign.sbatch without Slurm: stand-ins for srun and scontrol, and Ray itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.until import until

ROOT = Path(__file__).parents[2]
JOB = ROOT / "deploy" / "ray" / "campaign.sbatch"
STAND_INS = Path(__file__).parent / "slurm"
ARGUMENTS = ["my campaign.yaml", "--campaign-dir", "/shared/my campaign"]
NAMESPACE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount", "--mount-proc"]
ON_ITS_OWN = 'mkdir -p /tmp/ray; mount -t tmpfs none /tmp/ray; ip link set lo up; "$@" || exit $?'
"""`ray stop`, which the job ends with, ends every Ray process that it sees."""

SHOWS_NODES = """
import json, os, sys
sys.path.insert(0, {root!r})
from flows.compute.ray_executor import cluster_nodes, connect, disconnect
from flows.config.compute import ComputeConfig
connect(ComputeConfig(kind="ray", address=sys.argv[-1].partition("=")[2]))
seen = {{"nodes": [[node.room.cpus, node.room.gpus] for node in cluster_nodes()],
         "arguments": sys.argv[1:], "mode": os.environ["RAY_AUTH_MODE"],
         "token": os.environ["RAY_AUTH_TOKEN"]}}
open(os.environ["WORK"] + "/seen", "w").write(json.dumps(seen))
disconnect()
sys.exit(75)
"""
WAITS_FOR_TERM = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
open(os.environ["WORK"] + "/seen", "w").write("runs")
signal.pause()
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the commands of a job, which come first in PATH, and what they write."""
    for name in ("srun", "scontrol"):
        shutil.copy(STAND_INS / name, tmp_path)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}"
    settings = {
        "PATH": path,
        "WORK": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_GPUS_ON_NODE": "3",
        "TMPDIR": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/ray")
    return tmp_path


def stand_in(folder: Path, name: str, program: str) -> None:
    (folder / name).write_text(f"#!{sys.executable}\n{program}")
    (folder / name).chmod(0o755)


@contextmanager
def without_ray(slurm: Path, ratchet: str) -> Iterator["subprocess.Popen[str]"]:
    shutil.copy(STAND_INS / "ray_without_nodes", slurm / "ray")
    stand_in(slurm, "ratchet", ratchet)
    command = ["bash", JOB, *ARGUMENTS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        yield job


def test_near_the_time_limit_the_campaign_is_stopped_and_queued_again(slurm: Path) -> None:
    with without_ray(slurm, WAITS_FOR_TERM) as job:
        until((slurm / "seen").exists, within_s=60)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(60) == 130
    assert (slurm / "asked").read_text() == "requeue 7\n"
    assert not list(slurm.glob("ratchet-7.*"))


@pytest.mark.parametrize("code", [0, 1, 2, 75])
def test_the_campaigns_exit_code_is_the_jobs_whatever_ray_says(
    slurm: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ENDS_WITH", "137")
    with without_ray(slurm, f"import sys; sys.exit({code})") as job:
        assert job.wait(60) == code
    assert not (slurm / "asked").exists()


def test_a_cluster_that_does_not_start_is_no_success(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_FAILS", "yes")
    with without_ray(slurm, "") as job:
        _, said = job.communicate(timeout=60)
    assert job.returncode == 1 and "Ray did not start on localhost" in said


def run_with_ray(slurm: Path) -> dict[str, object]:
    """What the campaign's command saw, on a real cluster of the job's nodes."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine gives no namespaces to processes")
    stand_in(slurm, "ratchet", SHOWS_NODES.format(root=str(ROOT)))
    command = [*NAMESPACE, "--kill-child", "bash", "-euc", ON_ITS_OWN, "bash", "bash", str(JOB)]
    job = subprocess.run([*command, *ARGUMENTS], capture_output=True, text=True)
    assert job.returncode == 75, job.stdout[-2000:] + job.stderr[-2000:]
    found: dict[str, object] = json.loads((slurm / "seen").read_text())
    return found


@pytest.mark.slow
def test_labels_that_are_missing_come_through_rays_symmetric_run(slurm: Path) -> None:
    seen = run_with_ray(slurm)
    cluster = ["--set", "compute.kind=ray", "--set", "compute.address=localhost:6379"]
    assert seen["arguments"] == ["run", *ARGUMENTS, *cluster]
    assert seen["nodes"] == [[2, 3]]
    assert seen["mode"] == "token" and len(str(seen["token"])) == 64


@pytest.mark.proof
def test_a_job_of_two_nodes_is_one_cluster(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with an address of its own."""
    settings = {
        "NODES": "2",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "10.7.0.1,10.7.0.2",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # so long the others look for the first
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert run_with_ray(slurm)["nodes"] == [[2, 3], [2, 3]]
