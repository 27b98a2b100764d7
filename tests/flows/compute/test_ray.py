"""Engines on a Ray cluster of several nodes: the same files, through the loss of any part."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpo_core.campaign.workers_now import WorkersNow, describe_workers
from dpo_core.hashing import file_sha256
from flows.compute.executor import LocalExecutor
from tests.flows.compute import ray_shards
from tests.flows.compute.ray_shards import ROWS, SHARD, begun, opened, prepare

ROOT, HERE = Path(__file__).parents[3], Path(__file__).parent
TOKEN = "f" * 64
NODES = 3


@dataclass(frozen=True)
class Nodes:
    """A cluster with a CPU on each node. raylets: node's name → process."""

    address: str
    raylets: dict[str, int]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        patch.delenv("RATCHET_PRELOADED", raising=False)
        command = [sys.executable, str(HERE / "ray_nodes.py"), str(NODES), "1"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            yield Nodes(**json.loads(process.stdout.readline()))
            process.stdin.close()
            process.wait(60)


def environment() -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for(true: Callable[[], bool], seconds: float) -> float:
    """The seconds until it was true. Fails after so many."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it did not come true"
        time.sleep(0.02)
    return time.monotonic() - began


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("what", ["nothing", "child", "owner", "raylet"])
def test_one_shard_is_redone_where_a_part_is_lost(what: str, nodes: Nodes, folder: Path) -> None:
    """The raylet is the last: its node is gone from then on."""
    hit: set[int] = set()
    striker = threading.Thread(target=strike, args=(what, nodes, folder, hit))
    striker.start()
    executor = opened(folder, nodes.address)
    try:
        result = ray_shards.carry_out(folder, executor, 2)
    finally:
        executor.close()
    striker.join()
    lost = what != "nothing"
    counts = Counter(first for first, _, _ in begun(folder))
    assert sorted(counts.values())[-2:] == [1, 1 + lost] and len(counts) == ROWS // SHARD
    assert result.attempts == ROWS // SHARD + lost and len(result.nodes) >= 2 - lost
    processes = {pid for _, *pids in begun(folder) for pid in pids} | hit
    wait_for(lambda: not any(map(lives, processes)), 10)
    assert not (folder / "workers.json").exists()
    disturbed = file_sha256(folder / "out.parquet")
    ray_shards.carry_out(folder, LocalExecutor(), 1, row_s=0.0)
    assert file_sha256(folder / "out.parquet") == disturbed


def strike(what: str, nodes: Nodes, folder: Path, hit: set[int]) -> None:
    """Kill a part of a worker in the midst of a shard, once two work; adds its processes to
    `hit`."""
    wait_for(lambda: len({child for _, child, _ in begun(folder)}) == 2, 60)
    _, child, owner = begun(folder)[-1]
    node = node_of(owner, nodes)
    now = WorkersNow.read(folder / "workers.json")
    assert now is not None and node in {each.node for each in now.workers}
    assert "sample rows" in describe_workers(now.workers)
    hit |= {child, owner}
    victims = {"child": child, "owner": owner, "raylet": nodes.raylets[node]}
    if what in victims:
        os.kill(victims[what], signal.SIGKILL)


def node_of(owner: int, nodes: Nodes) -> str:
    parent = int(Path(f"/proc/{owner}/stat").read_text().rpartition(")")[2].split()[1])
    return next(name for name, raylet in nodes.raylets.items() if raylet == parent)
