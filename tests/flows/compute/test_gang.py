"""A round that nodes of a Ray cluster train together: the same weights through any loss."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from small_campaign import CONFIG

from dpo_core.children import Child
from dpo_core.errors import BadInput, ChildDied
from dpo_core.hashing import policy_id
from dpo_core.training.jobs import DpoJob
from flows.compute.executor import WorkerPlan
from flows.config import CampaignConfig
from flows.session import Session
from reporting.progress import CampaignProgress
from tests.dpo_core.training.conftest import make_job, sentiment, tiny
from tests.flows.compute.ray_shards import opened, prepare
from tests.flows.compute.test_ray import TOKEN, Nodes, cpus, started, wait_for
from tests.living import living

PAIRS, EPOCHS = 17, 8
__all__ = ["make_job", "tiny"]  # fixtures


@pytest.fixture(scope="module")
def two() -> Iterator[Nodes]:
    with started(2, cpus=1) as nodes:
        yield nodes


@pytest.fixture
def jobs(make_job: Callable[..., DpoJob]) -> tuple[DpoJob, DpoJob]:
    """The same round twice: to be disturbed, and undisturbed."""
    options = {"pairs_per_step": 2, "epochs": EPOCHS, "learning_rate": 3e-4}
    one, other = (make_job(name, *sentiment(PAIRS), **options) for name in ("one", "other"))
    saved = one.config.model_copy(update={"checkpoint_every": 5})
    checkpoints = one.curve_path.parent / "checkpoints"
    return one.model_copy(update={"config": saved, "checkpoints": checkpoints}), other


def on_one_machine(job: DpoJob) -> str:
    """The id of the weights that two processes of one machine train, with a thread each."""
    config = job.config.model_copy(update={"processes": 2})
    with Child.start("dpo_core.training.train_worker", job.out_dir.parent / "log") as child:
        child.carry_out(job.model_copy(update={"config": config, "threads": 2}))
    return policy_id(job.out_dir)


def session_on(nodes: Nodes, root: Path, said: StringIO, attempts: int) -> Session:
    compute = {"kind": "ray", "address": nodes.address, "nodes": 2, "attempts": attempts}
    config = CampaignConfig.model_validate({**CONFIG, "compute": compute})
    progress = CampaignProgress(Console(file=said, width=1000), rounds=1)
    return Session.open(root, config, progress)


def processes() -> dict[str, list[int]]:
    """The ranks by `rank 0` and so on, and what holds them on each node."""
    found: dict[str, list[int]] = {}
    for pid, command in living(f"RAY_AUTH_TOKEN={TOKEN}").items():
        if "rank_worker" in command:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            [rank] = re.findall(rb"\0RANK=(\d+)\0", environment)
            found.setdefault(f"rank {rank.decode()}", []).append(pid)
        elif "train_worker" in command:
            found.setdefault("launcher", []).append(pid)
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Strike(threading.Thread):
    """Ends a part of the gang once the round has a checkpoint. ranks: and launchers, as they were.
    node: where it was."""

    def __init__(self, what: str, number: int, nodes: Nodes, job: DpoJob) -> None:
        super().__init__(daemon=True)
        self.ranks: set[int] = set()
        self.node = ""
        self.at = 0.0
        self._what, self._number, self._nodes, self._job = what, number, nodes, job
        self.start()

    def run(self) -> None:
        checkpoints = self._job.checkpoints
        assert checkpoints is not None
        wait_for(lambda: any(checkpoints.glob("step-*")), 200)
        now = processes()
        self.ranks = {pid for pids in now.values() for pid in pids}
        [rank] = now[f"rank {self._number}"]
        launcher = parent(rank)
        raylet = parent(parent(launcher))
        self.node = next(name for name, pid in self._nodes.raylets.items() if pid == raylet)
        self.at = time.monotonic()
        victims = {"rank": rank, "launcher": launcher, "raylet": raylet}
        os.kill(victims[self._what], signal.SIGKILL)


CAUSES = {
    "rank": "on node {node}, a training process was killed",
    "launcher": "on node {node}, the child process dpo_core.training.train_worker was killed by",
    "raylet": "the process dpo_core.training.train_worker on node {node} was lost",
}


def test_a_round_of_two_nodes_goes_on_where_one_lost_a_process(
    two: Nodes, jobs: tuple[DpoJob, DpoJob], tmp_path: Path
) -> None:
    """And once it is released, all of the cluster is free."""
    import ray

    job, whole = jobs
    strike, said = Strike("rank", 1, two, job), StringIO()
    with session_on(two, tmp_path / "campaign", said, attempts=2) as session:
        result = session.train(job)
        wait_for(lambda: cpus(ray.available_resources()) == 2, 10)
    assert CAUSES["rank"].format(node=strike.node) in said.getvalue()
    assert "attempt 2 of 2" in said.getvalue()
    assert result.attempts == 2 and result.resumed_from_step >= 5 and result.processes == 2
    assert sorted(result.nodes) == ["node0", "node1"]
    assert not processes()
    assert policy_id(job.out_dir) == on_one_machine(whole)


@pytest.mark.proof
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("what", CAUSES)
def test_the_cause_is_named_nothing_is_left_and_the_weights_are_the_same(
    what: str, number: int, jobs: tuple[DpoJob, DpoJob], tmp_path: Path
) -> None:
    job, whole = jobs
    with started(3, cpus=1) as nodes:
        strike, said = Strike(what, number, nodes, job), StringIO()
        with session_on(nodes, tmp_path / "campaign", said, attempts=1) as session:
            with pytest.raises(ChildDied) as died:
                session.train(job)
            wait_for(lambda: not strike.ranks & set(living(f"RAY_AUTH_TOKEN={TOKEN}")), 10)
            assert time.monotonic() - strike.at < 10
            assert CAUSES[what].format(node=strike.node) in died.value.message
            result = session.train(job)
        assert result.resumed_from_step >= 5 and result.attempts == 1
        assert policy_id(job.out_dir) == on_one_machine(whole)


def test_nodes_that_are_not_there_are_named(
    two: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "logs"
    logs.mkdir()
    slow = WorkerPlan("slow_worker", logs / "sampling.log", 1, {"ROW_S": "0"}, 1)
    gang = WorkerPlan("slow_worker", logs / "training.log", 1, {"ROW_S": "0"}, nodes=2)
    executor = opened(tmp_path, two.address, place_timeout_s=2)
    try:
        three = WorkerPlan("slow_worker", logs / "training.log", 1, nodes=3)
        with pytest.raises(BadInput, match=r"needs 3 nodes with 1 CPU each, the cluster has 2\n"):
            executor.start(three)
        executor.start(slow)
        with pytest.raises(ChildDied, match=r"needs 2 nodes with 1 CPU each, .* has 1 free"):
            executor.start(gang)
    finally:
        executor.close()
