"""Nodes that do not see the campaign's folder: files reach them by the bucket, and come back."""

import os
import shutil
import signal
import threading
from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from small_campaign import RUN, Campaign

from dpo_core.errors import ArtifactCorrupted, DiskFull
from dpo_core.hashing import file_sha256, policy_id
from dpo_core.jobs import job_request
from dpo_core.training.jobs import DpoJob
from dpo_core.training.trainer import train_round
from flows.compute import shipping
from flows.compute.cluster import ClusterNode, Room
from flows.compute.executor import LocalExecutor, WorkerPlan
from flows.compute.owner import ChildOwner, SharedFolder
from flows.compute.remote_worker import RemoteWorker
from flows.compute.shipping import Shipper, send_back, unpack
from generation.jobs import RetokeniseJob, SampleJob
from tests import typed
from tests.dpo_core.training.conftest import make_job, sentiment, tiny
from tests.flows.compute import ray_shards
from tests.flows.compute.ray_shards import ROWS, SHARD, begun, opened, prepare
from tests.flows.compute.test_ray import started, wait_for

WEIGHTS = os.urandom(100_000)
__all__ = ["make_job", "tiny"]  # fixtures


@pytest.fixture
def shipper(tmp_path: Path) -> Shipper:
    """Of the campaign in `campaign`, for nodes that keep its files in `node`."""
    root = tmp_path / "campaign"
    (root / "policy" / "sub").mkdir(parents=True)
    (root / "policy" / "model.safetensors").write_bytes(WEIGHTS)
    (root / "policy" / "sub" / "config.json").write_text("{}")
    (root / "prompts.parquet").write_bytes(b"prompts")
    return Shipper((tmp_path / "bucket").as_uri(), tmp_path / "node", root)


def sample_job(root: Path) -> SampleJob:
    return SampleJob(
        policy=root / "policy",
        policy_id="p",
        source=root / "prompts.parquet",
        out=root / "shards" / "1.parquet",
        samples_per_prompt=1,
        seed=1,
    )


def test_a_job_finds_its_files_and_what_it_writes_comes_back(
    shipper: Shipper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_PART", 30_000)
    root = tmp_path / "campaign"
    job = sample_job(root)
    shipment = shipper.pack(job)
    request = unpack(shipper.cache, shipment, job_request(job, root))
    there = job.within(root).at(Path(request["root"]))
    assert tmp_path / "node" in there.policy.parents
    assert (there.policy / "model.safetensors").read_bytes() == WEIGHTS
    assert (there.policy / "sub" / "config.json").read_text() == "{}"
    assert there.source.read_bytes() == b"prompts"

    there.out.write_bytes(WEIGHTS)
    parts = [*send_back(shipper.cache, shipment)]
    assert [len(part.content) for part in parts] == [30_000, 30_000, 30_000, 10_000]
    for part in parts[:-1]:
        shipper.receive(part)
    assert not job.out.exists(), "a file has its name once it is whole"
    shipper.receive(parts[-1])
    assert job.out.read_bytes() == WEIGHTS and not there.out.exists()
    assert [*job.out.parent.iterdir()] == [job.out]


def test_a_file_is_fetched_once_and_a_damaged_one_is_refused(
    shipper: Shipper, tmp_path: Path
) -> None:
    root = tmp_path / "campaign"
    job = sample_job(root)
    unpack(shipper.cache, shipper.pack(job), job_request(job, root))
    for blob in (tmp_path / "bucket" / "blobs").iterdir():
        blob.write_bytes(b"damaged")
    shipment = shipper.pack(job)  # of the same files
    unpack(shipper.cache, shipment, job_request(job, root))
    (tmp_path / "node" / "blobs" / shipment.reads["prompts.parquet"].sha256).unlink()
    with pytest.raises(ArtifactCorrupted, match="is damaged"):
        unpack(shipper.cache, shipment, job_request(job, root))


def test_the_cache_drops_what_was_not_used_for_longest(
    shipper: Shipper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk with room for the spare and two files."""
    root, blobs = tmp_path / "campaign", tmp_path / "node" / "blobs"
    room = [2]

    def usage(folder: Path) -> object:
        used = sum(1 for file in folder.iterdir() if file.name != "lock")
        return namedtuple("usage", "free")(shipping._SPARE + (room[0] - used) * 10)

    monkeypatch.setattr(shipping.shutil, "disk_usage", usage)

    def ship(*texts: str) -> Sequence[str]:
        """The names in the cache after a job that reads files with these texts."""
        for name, text in zip(("a", "b"), texts, strict=True):
            (root / name).write_text(text)
        job = RetokeniseJob(
            policy=root / "none", prompts=root / "a", completions=root / "b", out=root / "out"
        )
        shipment = shipper.pack(job.model_copy(update={"policy": root / "a"}))
        unpack(shipper.cache, shipment, job_request(job, root))
        for number, file in enumerate(sorted(blobs.iterdir(), key=lambda f: f.stat().st_mtime)):
            os.utime(file, (number, number))
        return sorted(file.read_text() for file in blobs.iterdir() if file.name != "lock")

    assert ship("1111111111", "2222222222") == ["1111111111", "2222222222"]
    assert ship("1111111111", "3333333333") == ["1111111111", "3333333333"]
    room[0] = 0
    with pytest.raises(DiskFull, match=r"compute.cache_dir .* has no room"):
        ship("4444444444", "5555555555")


class Called:
    """A method of an owner in this process, as Ray would call it on a node."""

    def __init__(self, method: Callable[..., object]) -> None:
        self.remote = method

    def options(self, **_: object) -> "Called":
        return self


class Owned:
    def __init__(self) -> None:
        self._owner = ChildOwner("b")

    def __getattr__(self, name: str) -> Called:
        return Called(getattr(self._owner, name))


def test_training_elsewhere_brings_its_files_back(
    make_job: Callable[..., DpoJob],
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The owner is here, the child has another root; a second round finds the first one's files."""
    monkeypatch.chdir(tmp_path)
    campaign = tmp_path / "campaign"
    shutil.copytree(tiny, campaign / "first")
    one, two = (
        make_job(f"campaign/{n}", *sentiment(8), policy_dir=campaign / "first") for n in "12"
    )
    one = one.model_copy(update={"checkpoints": campaign / "1" / "checkpoints"})
    shipper = Shipper((tmp_path / "bucket").as_uri(), tmp_path / "node", campaign)
    plan = WorkerPlan("dpo_core.training.train_worker", campaign / "logs" / "training.log", 1)
    node = ClusterNode("b", "b", "127.0.0.1", 0, Room(1, 0), Room(1, 0), 1.0)
    told = (lambda _: None, lambda *_: None, shipper)
    worker = RemoteWorker(plan, node, Owned(), lambda answer, _: answer, *told)
    worker.start(SharedFolder(campaign / "none", "run", tmp_path, shipper.cache))
    try:
        worker.carry_out(one, campaign)
        result = worker.carry_out(two.model_copy(update={"policy_dir": one.out_dir}), campaign)
    finally:
        worker.close()
    assert result.policy == policy_id(two.out_dir)
    for job in (one, two):
        assert {job.curve_path, job.reference_logps_path} <= {*job.out_dir.parent.iterdir()}
    there = [*shipper.cache.root.rglob("model.safetensors")]
    assert len(there) == 2 and all(path.is_symlink() for path in there)
    assert train_round(one.model_copy(update={"out_dir": tmp_path / "local"}), lambda *_: None)
    assert policy_id(tmp_path / "local") == policy_id(one.out_dir)


@pytest.mark.proof
def test_shards_of_nodes_with_disks_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child is killed in the midst of a shard; logs are where they are on one machine."""
    folder, cache = tmp_path / "campaign", tmp_path / "node"
    prepare(folder)
    (tmp_path / "slow_worker.py").write_text((folder / "slow_worker.py").read_text())
    monkeypatch.chdir(tmp_path)
    with started(2, cpus=1, hidden=folder) as nodes:
        shipper = Shipper((tmp_path / "bucket").as_uri(), cache, folder)

        def kill() -> None:
            wait_for(lambda: len({c for _, c, _ in begun(shipper.cache.root)}) == 2, 60)
            os.kill(begun(shipper.cache.root)[-1][1], signal.SIGKILL)

        striker = threading.Thread(target=kill)
        striker.start()
        executor = opened(folder, nodes.address, shipper)
        try:
            result = ray_shards.carry_out(folder, executor, 2)
        finally:
            executor.close()
        striker.join()
    assert result.attempts == ROWS // SHARD + 1 and result.nodes
    assert not begun(folder)
    assert (folder / "logs" / "sampling-1.log").exists()
    shipped = file_sha256(folder / "out.parquet")
    ray_shards.carry_out(folder, LocalExecutor(), 1, row_s=0.0)
    assert file_sha256(folder / "out.parquet") == shipped


@pytest.mark.proof
def test_a_campaign_on_nodes_with_disks_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are those of one machine; the nodes never see its folder."""
    monkeypatch.setattr(typed, "TIMEOUT_S", 1200)  # each step starts its processes anew
    short = ("--set", "rounds=1")
    campaigns = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        campaigns.append(Campaign.create(tmp_path / name))
    here, there = campaigns
    there.layout.root.mkdir()
    changes = ["compute.kind=ray", f"compute.cache_dir={tmp_path / 'node'}"]
    changes += [f"storage.url={(tmp_path / 'bucket').as_uri()}"]
    with started(1, cpus=1, hidden=there.layout.root) as nodes:
        changes += [f"compute.address={nodes.address}"]
        options = [part for change in changes for part in ("--set", change)]
        done = there.ratchet(*RUN, *short, *options)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (there.layout.root / "logs" / "training.log").stat().st_size
    done = here.ratchet(*RUN, *short)
    assert done.returncode == 0, done.stderr + done.stdout
    for step, name in (
        ("completions", "completions.parquet"),
        ("training", "policy/model.safetensors"),
        ("answers", "completions.parquet"),
    ):
        ours, theirs = there.artifact(1, step).entry, here.artifact(1, step).entry
        assert ours.outputs.keys() == theirs.outputs.keys()
        assert ours.outputs[name] == theirs.outputs[name]
