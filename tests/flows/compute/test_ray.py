"""Engines on a Ray cluster of several nodes: the same files, through the loss of any part."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from secrets import token_hex

import pytest
from rich.console import Console
from small_campaign import CONFIG, RUN, Campaign

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.workers_now import WorkersNow, describe_workers
from dpo_core.errors import BadInput, ChildDied, ChildFailed
from dpo_core.hashing import file_sha256
from dpo_core.preloaded import SOCKET
from dpo_core.records import Completion, Prompt
from flows.compute import owner, processes
from flows.compute.executor import LocalExecutor, Worker, WorkerPlan
from flows.compute.judge_models import JudgeModels
from flows.compute.owner import SharedFolder
from flows.compute.ray_executor import connect
from flows.compute.shards import carry_out_in_shards
from flows.config import CampaignConfig
from flows.config.compute import ComputeConfig
from flows.doctor.cluster import check_cluster
from flows.session import Session
from generation.config import SamplingConfig
from labeling.judges.config import RewardModelJudge
from reporting.progress import CampaignProgress
from tests.flows.compute import ray_shards
from tests.flows.compute.ray_shards import ROWS, SHARD, begun, opened, prepare
from tests.flows.compute.test_many_engines import PROMPT_COUNT, asked, by_one, sample_job
from tests.flows.compute.test_many_engines import SHARD as SHARD_OF_ONE
from tests.living import living

ROOT, HERE = Path(__file__).parents[3], Path(__file__).parent
TOKEN = token_hex(32)
NODES, SHARD_PROMPTS = 3, 3

__all__ = ["asked", "by_one"]  # fixtures


JUDGE = """
from dpo_core.children import serve
from dpo_core.errors import BadInput

def handle(request, report):
    texts = [c[-1]["parts"][0][0] for c in request["job"]["conversations"]]
    if texts[0] in ("fail", "wrong"):
        with open("asked", "a") as asked:
            asked.write(texts[0] + " ")
        if texts[0] == "fail":
            raise RuntimeError("CUDA out of memory")
        raise BadInput("the answer is too long", "Shorten it.")
    answers = [{"value": float(texts[0]), "reason": ""} for _ in texts]
    return {"answers": answers, "seconds_start": 0.0, "versions": {}, "device": "cpu"}

if __name__ == "__main__":
    serve(handle)
"""


@dataclass(frozen=True)
class Nodes:
    """A cluster with a CPU on each node. raylets: node's name → process. preloaded: the socket of a
    process that children can be forked from, which nodes do not know by themselves."""

    address: str
    raylets: dict[str, int]
    preloaded: str


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with started(NODES, cpus=1) as nodes:
        yield nodes


@contextmanager
def started(nodes: int, cpus: int, gpus: int = 0, hidden: Path | None = None) -> Iterator[Nodes]:
    """GPUs are Ray's numbers alone: it does not look whether they exist. hidden: a folder in whose
    place the nodes have an empty one of their own, as machines without a common disk have."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        preloaded = os.environ.get(SOCKET, "")
        patch.delenv(SOCKET, raising=False)
        command = [sys.executable, str(HERE / "ray_nodes.py"), *map(str, (nodes, cpus, gpus))]
        if hidden is not None:
            mount = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ["unshare", "-m", "sh", "-c", mount, str(hidden), *command]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            yield Nodes(**json.loads(process.stdout.readline()), preloaded=preloaded)
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


def test_files_and_facts_of_engines_on_nodes(
    nodes: Nodes,
    asked: Path,
    by_one: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real engines; and once they are released, as while people label, all of the cluster is
    free."""
    import ray

    monkeypatch.setitem(processes._ENVIRONMENTS, "sampling", {SOCKET: nodes.preloaded})
    compute = {"kind": "ray", "address": nodes.address, "sampling_workers": 2}
    out = tmp_path / "completions.parquet"
    with opened_session(tmp_path / "cluster", compute, SHARD_OF_ONE) as session:
        result = session.sample(sample_job(session, asked, out))
        assert (result.workers, len(result.nodes)) == (2, 2)
        assert result.attempts == PROMPT_COUNT // SHARD_OF_ONE
        assert cpus(ray.available_resources()) == NODES - 2
        session.processes.release()
        wait_for(lambda: cpus(ray.available_resources()) == NODES, 10)
    assert file_sha256(out) == file_sha256(by_one[0])


@pytest.mark.proof
def test_files_of_three_engines_through_a_kill(nodes: Nodes, asked: Path, tmp_path: Path) -> None:
    """Real engines; one is killed in the midst of a shard, and replaced. There are enough shards
    that each engine has another one to do."""
    compute = {"kind": "ray", "address": nodes.address, "sampling_workers": 3}
    out, plain = tmp_path / "out.parquet", tmp_path / "plain.parquet"

    def kill() -> None:
        wait_for(lambda: len(list(tmp_path.glob("shards/*/*.json"))) >= 2, 200)
        now = WorkersNow.read(Layout(tmp_path / "cluster").workers)
        assert now is not None
        busy = {each.node for each in now.workers if "sample rows" in each.doing}
        at_work = [owner for owner in owners() if node_of(owner, nodes) in busy]
        for child in children_of(at_work[0]):
            os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with opened_session(tmp_path / "cluster", compute) as session:
        result = session.sample(sample_job(session, asked, out))
    killer.join()
    assert result.attempts == PROMPT_COUNT // SHARD_PROMPTS + 1
    with opened_session(tmp_path / "local", {}) as session:
        session.sample(sample_job(session, asked, plain))
    assert file_sha256(out) == file_sha256(plain)


def owners() -> list[int]:
    """The actors on clusters of this file that have a child."""
    ours = living(f"RAY_AUTH_TOKEN={TOKEN}")
    return [pid for pid, name in ours.items() if name.startswith("ray::") and children_of(pid)]


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [*map(int, listed.stdout.split())]


def cpus(resources: dict[str, float]) -> int:
    return int(resources.get("CPU", 0))


def opened_session(
    root: Path, compute: dict[str, object], shard_prompts: int = SHARD_PROMPTS
) -> Session:
    sampling = {"max_tokens": 24, "max_model_len": 96, "shard_prompts": shard_prompts}
    config = CampaignConfig.model_validate({**CONFIG, "sampling": sampling, "compute": compute})
    return Session.open(root, config, CampaignProgress(Console(file=StringIO()), rounds=1))


def test_room_that_is_not_there_is_named(
    nodes: Nodes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "logs").mkdir()
    plans = [
        WorkerPlan("slow_worker", folder / "logs" / f"{n}.log", 1, {"ROW_S": "0"}, 1, n, NODES)
        for n in range(NODES)
    ]
    executor = opened(folder, nodes.address, place_timeout_s=4)
    try:
        with pytest.raises(BadInput, match=r"0 needs 4 × 1 CPU, the cluster has 3 × 1 CPU"):
            executor.start(replace(plans[0], side_by_side=4))
        with pytest.raises(BadInput, match=r"0 needs 3 × 2 CPUs, the cluster has 0 × 2 CPUs"):
            executor.start(replace(plans[0], threads=2))
        for plan in plans:
            executor.start(plan)
        with pytest.raises(
            ChildDied, match=r"other needs 1 × 1 CPU, the cluster has 0 × 1 CPU free"
        ):
            executor.start(replace(plans[0], log=folder / "logs" / "other.log", side_by_side=1))
        assert "waits for up to 4 s" in capsys.readouterr().out
    finally:
        executor.close()


def test_judges_rate_on_nodes_and_a_failed_request_is_not_repeated(
    nodes: Nodes, folder: Path
) -> None:
    (folder / "judging_worker.py").write_text(JUDGE)
    (folder / "logs").mkdir()
    executor = opened(folder, nodes.address)

    def start(number: int, workers: int) -> Worker:
        log = folder / "logs" / f"judging-{number + 1}.log"
        return executor.start(WorkerPlan("judging_worker", log, 1, {}, 1, number, workers))

    made = JudgeModels(
        *(Layout(folder), SamplingConfig(), start, lambda _: 2, lambda: None, lambda *_: None),
        executor,
    )
    judge = RewardModelJudge(kind="reward_model", model="m")
    try:
        texts = [*map(str, range(600))]
        scores = made.models.rate(judge, [*map(completion, texts)])
        assert [score.value for score in scores] == [256.0 * (n // 256) for n in range(600)]
        with pytest.raises(ChildFailed, match="CUDA out of memory") as failed:
            made.models.rate(judge, [completion("fail")])
        assert not failed.value.deliberate
        with pytest.raises(BadInput, match="too long"):
            made.models.rate(judge, [completion("wrong")])
        assert (folder / "asked").read_text().split() == ["fail", "wrong"]
    finally:
        made.release()
        executor.close()


def completion(text: str) -> Completion:
    return Completion("c", Prompt("p", text="?"), text, "stop", 1)


def test_doctor_asks_each_node_for_its_versions(nodes: Nodes) -> None:
    compute = {"kind": "ray", "address": nodes.address}
    config = CampaignConfig.model_validate({**CONFIG, "compute": compute})
    found = [*check_cluster(config)]
    assert {finding.severity for finding in found} == {"ok"}
    assert all(" has Ratchet " in f.what and ", Python 3." in f.what for f in found)
    assert {finding.what.split()[1] for finding in found} == set(nodes.raylets)


def test_workers_end_with_the_orchestrator_and_finished_shards_stay(
    nodes: Nodes, folder: Path
) -> None:
    script = str(HERE / "ray_shards.py")
    command = [sys.executable, script, str(folder), nodes.address, "2"]
    with subprocess.Popen(command) as first:
        wait_for(lambda: len(list(folder.glob("shards/*/*.json"))) >= 3, 60)
        first.kill()
    kept = len(list(folder.glob("shards/*/*.json")))
    before = begun(folder)
    processes = {pid for _, *pids in before for pid in pids}
    wait_for(lambda: not any(map(lives, processes)), 5)
    subprocess.run(command, check=True, timeout=120)
    assert len(begun(folder)) - len(before) == ROWS // SHARD - kept
    assert not list(folder.glob("shards/*"))


def test_a_node_without_the_campaigns_folder_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_SEES_FILES_S", 0.1)
    elsewhere = SharedFolder(folder / "elsewhere" / "workers.json", "run", folder)
    WorkersNow(run="another").write(folder / "workers.json")
    here = SharedFolder(folder / "workers.json", "run", folder)
    for shared in (elsewhere, here):
        started = owner.ChildOwner("b").start("slow_worker", folder / "log", {}, shared)
        assert started.error is not None and started.error["kind"] == "bad_input"
        assert "node b of the cluster does not see" in started.error["message"]


def test_an_address_where_nothing_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    compute = ComputeConfig(kind="ray", address=f"127.0.0.1:{port}")
    with pytest.raises(BadInput, match=f"nothing answers at compute.address 127.0.0.1:{port}"):
        connect(compute)


@pytest.mark.proof
def test_a_wrong_token_is_refused_by_the_command(nodes: Nodes, tmp_path: Path) -> None:
    """Ray itself tries it for twenty seconds."""
    campaign = Campaign.create(tmp_path)
    campaign.variables["RAY_AUTH_TOKEN"] = "0" * 64
    began = time.monotonic()
    compute = ("--set", "compute.kind=ray", "--set", f"compute.address={nodes.address}")
    done = campaign.run(*compute)
    assert done.returncode == 2 and "RAY_AUTH_TOKEN" in done.stderr
    assert time.monotonic() - began < 30 and not campaign.layout.root.exists()


@pytest.mark.proof
def test_a_frozen_node_that_wakes_up_touches_nothing_published(nodes: Nodes, folder: Path) -> None:
    """Ray takes a minute to take it for lost. Its child finishes its shard once it wakes up."""
    frozen: list[int] = []

    def freeze() -> None:
        wait_for(lambda: len({child for _, child, _ in begun(folder)}) == 2, 60)
        _, child, owner_pid = begun(folder)[-1]
        frozen.extend([nodes.raylets[node_of(owner_pid, nodes)], owner_pid, child])
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)

    striker = threading.Thread(target=freeze)
    striker.start()
    executor = opened(folder, nodes.address)
    published: dict[Path, str] = {}
    try:
        made = ray_shards.pool(folder, executor, 2, row_s=0.05)
        job = ray_shards.job(folder)
        carry_out_in_shards(job, made, folder, 2, lambda *_: None)
        published = {path: file_sha256(path) for path in folder.glob("out.parquet")}
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not any(map(lives, frozen)), 30)
        made.release()
    finally:
        for pid in filter(lives, frozen):
            os.kill(pid, signal.SIGCONT)
        executor.close()
    striker.join()
    assert published and {path: file_sha256(path) for path in published} == published
    redone = [n for n in Counter(first for first, _, _ in begun(folder)).values() if n > 1]
    assert redone == [2]


@pytest.mark.proof
def test_a_campaign_runs_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    """Without an address: started with a token on the loopback, and gone with the run."""
    campaign = Campaign.create(tmp_path)
    options = ("--set", "rounds=1", "--set", "compute.kind=ray")
    command = [sys.executable, "-m", "flows.cli", *RUN, *options]
    with subprocess.Popen(command, cwd=tmp_path, env=campaign.environment()) as run:
        workers = campaign.layout.workers
        wait_for(lambda: "sample" in (workers.read_text() if workers.exists() else ""), 200)
        status, ray = campaign.ratchet("status", "campaign"), rays_of(run.pid)
        assert run.wait(300) == 0
    assert "sampling" in status.stdout and "running" in status.stdout
    assert not workers.exists()
    [entry] = [e for e in campaign.entries() if (e.round, e.step) == (1, "completions")]
    assert entry.facts["workers"] == 1 and len(entry.facts["nodes"]) == 1
    assert ray
    wait_for(lambda: not any(map(lives, ray)), 10)


def rays_of(pid: int) -> list[int]:
    """Ray's own processes that a process started."""
    found = children_of(pid)
    return [child for child in found if b"ray" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.proof
def test_a_cluster_of_ones_own_ends_with_a_killed_orchestrator(folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(HERE / "ray_shards.py"), str(folder), "", "1"]
    with subprocess.Popen(command, env=env) as run:
        wait_for(lambda: len(begun(folder)) > 1, 120)
        ray = rays_of(run.pid)
        run.kill()
    assert ray
    processes = {pid for _, *pids in begun(folder) for pid in pids}
    wait_for(lambda: not any(map(lives, processes)), 5)
    wait_for(lambda: not any(map(lives, ray)), 10)


@pytest.mark.proof
def test_a_cluster_of_ones_own_outlives_the_threads_that_use_it(folder: Path) -> None:
    """And a process may have one after another."""
    script = f"""
from pathlib import Path
from tests.flows.compute.ray_shards import carry_out, opened
place = Path({str(folder)!r})
for _ in range(2):
    executor = opened(place, None)
    for row_s in (0.0, 0.01):  # each has threads of its own
        carry_out(place, executor, 1, row_s)
    executor.close()
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=200)
    assert len(begun(folder)) == 4 * ROWS // SHARD


@pytest.mark.proof
def test_each_engine_has_gpus_of_its_own(folder: Path) -> None:
    with started(2, cpus=4, gpus=2) as two:
        executor = opened(folder, two.address)
        try:
            machines = executor.machines()
            assert [(len(m.gpus), m.cores) for m in machines] == [(2, 4), (2, 4)]
            result = ray_shards.carry_out(folder, executor, 4)
            assert result.workers == 4 and len(result.nodes) == 2
            assert set((folder / "devices").read_text().split()) == {"0", "1"}
            (folder / "devices").unlink()
            ray_shards.carry_out(folder, executor, 2, gpus=2)
            assert set((folder / "devices").read_text().split()) == {"0,1"}
            with pytest.raises(BadInput, match=r"needs 3 × \(2 GPUs, 1 CPU\), the cluster has 2 ×"):
                ray_shards.carry_out(folder, executor, 3, gpus=2)
        finally:
            executor.close()


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
