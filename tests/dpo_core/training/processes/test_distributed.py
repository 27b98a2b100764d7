"""Two gloo processes train as one does, resume each other, and leave nothing behind."""

import math
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

from dpo_core.children import Child
from dpo_core.config import LoraConfig, TrainingConfig
from dpo_core.errors import ChildDied, Interrupted, RatchetError
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.processes.team import Team
from dpo_core.training.processes.torchrun import count_processes
from dpo_core.training.trainer import train_round
from tests.living import living
from tests.until import until

from ..conftest import EOS, VOCABULARY, make_tokenizer, sentiment

MakeJob = Callable[..., DpoJob]
ROOT = Path(__file__).parents[4]
PAIRS = 17  # in steps of 8, 8 and 1: in the last one, one of two processes has nothing to do
CURVE = ("loss", "accuracy", "margin", "chosen_logratio", "entropy", "gradient_norm", "pairs")
MARK = "RATCHET_DISTRIBUTED_TEST"


@pytest.fixture(scope="module")
def mark() -> str:
    """Value of an environment variable that `child` and the processes it starts inherit."""
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Child]]:
    """The training processes of all tests but one; the last may be used while no request failed."""
    children: list[Child] = []
    yield children
    for child in children:
        child.close()


@pytest.fixture
def child(started: list[Child], tmp_path: Path, mark: str) -> Child:
    if not started or not started[-1].usable():
        for failed in started:
            failed.close()
        started.append(start_worker(tmp_path, mark))
    return started[-1]


def start_worker(folder: Path, mark: str) -> Child:
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: mark}
    return Child.start("dpo_core.training.train_worker", folder / "train.log", env)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy whose output head is its embedding, with grouped heads."""
    folder = tmp_path_factory.mktemp("tied")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=EOS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy without attention, whose layers hold other layers that should not be divided."""
    folder = tmp_path_factory.mktemp("mamba")
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, state_size=4
    )
    MambaForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def quiet(done: int, total: int, unit: str) -> None:
    pass


def changed(job: DpoJob, **config: Any) -> DpoJob:
    wanted = job.config.model_copy(update=config)
    return job.model_copy(update={"config": wanted})


def marked(mark: str) -> list[int]:
    """Pids of the living processes that carry `mark`."""
    return list(living(f"{MARK}={mark}"))


def ranks(mark: str) -> dict[int, bytes]:
    """Pid → RANK=… of those that train together; one that is forked in another's stead has its."""
    variables = {
        pid: Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in marked(mark)
    }
    found = ((pid, one) for pid, all_ in variables.items() for one in all_)
    return {pid: one for pid, one in found if one.startswith(b"RANK=")}


def wait_until_none(mark: str) -> None:
    until(lambda: not marked(mark), lambda: f"still alive: {marked(mark)}", within_s=10)


def distance(one: Path, other: Path) -> float:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return math.sqrt(sum(float((a[n] - b[n]).double().pow(2).sum()) for n in a))


def assert_same_training(found: DpoJob, expected: DpoJob) -> None:
    """Curves within 1e-5, weights within a hundredth of the way that training went."""
    curves = [
        np.array([[row[name] for name in CURVE] for row in read_rows(job.curve_path)])
        for job in (found, expected)
    ]
    assert np.abs(curves[0] - curves[1]).max() <= 1e-5
    way = distance(expected.out_dir, expected.policy_dir)
    assert way > 1e-2
    assert distance(found.out_dir, expected.out_dir) <= 1e-2 * way
    flops = [
        [row["flops_per_second"] * row["seconds"] for row in read_rows(job.curve_path)]
        for job in (found, expected)
    ]
    assert flops[0] == pytest.approx(flops[1])
    logps = [read_rows(job.reference_logps_path) for job in (found, expected)]
    for ours, theirs in zip(*logps, strict=True):
        assert ours["chosen"] == pytest.approx(theirs["chosen"], abs=1e-5)


@pytest.mark.parametrize(
    ("policy", "config"),
    [
        ("tiny", {"loss": "sigmoid", "nll_weight": 0.1, "wpo": True}),
        ("tied", {"loss": "aot"}),
        ("mamba", {"weight_decay": 0.1, "gradient_checkpointing": True}),
        ("tiny", {"lora": LoraConfig(rank=4), "learning_rate": 2e-3}),
    ],
)
def test_two_processes_train_as_one_does(
    make_job: MakeJob,
    child: Child,
    request_: Any,
    policy: str,
    config: dict[str, Any],
) -> None:
    policy_dir = request_.getfixturevalue(policy)
    jobs = [
        make_job(name, *sentiment(PAIRS), policy_dir=policy_dir, epochs=2, **config)
        for name in ("one", "two")
    ]
    expected = train_round(jobs[0], quiet)
    seen: list[tuple[int, int, str]] = []
    found = child.carry_out(
        changed(jobs[1], processes=2), report=lambda d, t, u: seen.append((d, t, u))
    )
    assert_same_training(jobs[1], jobs[0])
    assert (found.processes, expected.processes) == (2, 1)
    assert found.path == expected.path == ("plain" if policy == "mamba" else "fast")
    for name in ("loss", "margin", "accuracy"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5)
    assert found.first_margin_max == 0
    assert [done for done, _, unit in seen if unit == "steps"] == [1, 2, 3, 4, 5, 6]


def test_two_processes_carry_an_optimiser_on_as_one_does(
    make_job: MakeJob, child: Child, tied: Path
) -> None:
    first = make_job("first", *sentiment(PAIRS), policy_dir=tied, weight_decay=0.1)
    left = first.out_dir.parent / "optimiser.safetensors"
    train_round(first.model_copy(update={"optimiser_to": left}), quiet)
    jobs, states = [], []
    for name in ("one", "two"):
        job = make_job(name, *sentiment(13), seed=2, policy_dir=first.out_dir, weight_decay=0.1)
        states.append(job.out_dir.parent / "optimiser.safetensors")
        jobs.append(job.model_copy(update={"optimiser_from": left, "optimiser_to": states[-1]}))
    train_round(jobs[0], quiet)
    child.carry_out(changed(jobs[1], processes=2))
    assert_same_training(jobs[1], jobs[0])
    expected, found = (load_file(path) for path in states)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = float(tensor.abs().max())
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-3 * scale, msg=name)
    # Steps of 8, 8 and 1 pairs, then of 8 and 5.
    assert {float(value) for name, value in found.items() if name.endswith(".step")} == {3 + 2}


def test_a_warning_of_two_processes_is_heard_once(
    make_job: MakeJob, child: Child, tmp_path: Path
) -> None:
    job = make_job("round", *sentiment(160), pairs_per_step=32, epochs=1, kl_budget_nats=1e-6)
    heard: list[str] = []
    job = job.model_copy(update={"events_dir": tmp_path / "events"})
    found = child.carry_out(changed(job, processes=2), notice=heard.append)
    [said] = [text for text in heard if "the policy moves too fast" in text]
    assert "budget 0.0" in said
    assert "kl_budget_passed" in {warning.name for warning in found.warnings}
    assert len(list((tmp_path / "events").iterdir())) == 1, "the leader alone writes events"


@pytest.fixture
def request_(request: pytest.FixtureRequest) -> pytest.FixtureRequest:
    return request


LONG = {"pairs_per_step": 2, "epochs": 3, "learning_rate": 3e-4}
STEPS = 3 * 9


def test_one_process_goes_on_after_two_were_killed(make_job: MakeJob, tmp_path: Path) -> None:
    whole = make_job("whole", *sentiment(PAIRS), **LONG)
    train_round(whole, quiet)
    job = make_job("killed", *sentiment(PAIRS), **LONG)
    job = job.model_copy(update={"checkpoints": job.curve_path.parent / "checkpoints"})

    mark = uuid.uuid4().hex
    with start_worker(tmp_path, mark) as child:

        def kill_at_step_12(done: int, total: int, unit: str) -> None:
            if (done, unit) == (12, "steps"):
                assert set(ranks(mark).values()) == {b"RANK=0", b"RANK=1"}
                child.process.kill()

        with pytest.raises(ChildDied, match="SIGKILL"):
            child.carry_out(changed(job, processes=2, checkpoint_every=5), report=kill_at_step_12)
        wait_until_none(mark)
    assert not job.out_dir.exists()
    result = train_round(job, quiet)
    assert result.resumed_from_step >= 10 and result.steps == STEPS
    assert_same_training(job, whole)


def test_two_processes_go_on_after_one_was_stopped_and_stop_when_told(
    make_job: MakeJob, child: Child, mark: str
) -> None:
    whole = make_job("whole", *sentiment(PAIRS), **LONG)
    train_round(whole, quiet)
    job = make_job("stopped", *sentiment(PAIRS), **LONG)
    job = job.model_copy(update={"checkpoints": job.curve_path.parent / "checkpoints"})

    def stop(done: int, total: int, unit: str) -> None:
        if (done, unit) == (6, "steps"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_round(job, stop)

    def stop_child(done: int, total: int, unit: str) -> None:
        if (done, unit) == (10, "steps"):
            child.process.send_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match=rf"of {STEPS} steps"):
        child.carry_out(changed(job, processes=2), report=stop_child)
    assert marked(mark) == [child.process.pid]
    result = child.carry_out(changed(job, processes=2))
    assert result.resumed_from_step >= 10
    assert_same_training(job, whole)


def test_an_error_of_the_processes_is_the_error_of_one(
    make_job: MakeJob, child: Child, mark: str
) -> None:
    job = make_job("wild", *sentiment(8), learning_rate=1e30, pairs_per_step=2)
    with pytest.raises(RatchetError, match=r"of optimiser step \d is not finite(.|\n)*Lower"):
        child.carry_out(changed(job, processes=2))
    assert marked(mark) == [child.process.pid]


def test_a_process_that_is_killed_ends_the_others(
    make_job: MakeJob, child: Child, mark: str
) -> None:
    job = make_job("round", *sentiment(PAIRS), **LONG)

    def kill_the_second(done: int, total: int, unit: str) -> None:
        if (done, unit) == (2, "steps"):
            for pid, rank in ranks(mark).items():
                if rank == b"RANK=1":
                    with suppress(ProcessLookupError):  # one ends with the other
                        os.kill(pid, signal.SIGKILL)

    with pytest.raises(ChildDied, match="training process was killed"):
        child.carry_out(changed(job, processes=2), report=kill_the_second)
    assert marked(mark) == [child.process.pid]


def test_two_machines_train_as_one_does(make_job: MakeJob, child: Child) -> None:
    """Both are this one; what differs is who starts the second process."""
    jobs = [make_job(name, *sentiment(PAIRS), epochs=2) for name in ("one", "two")]
    train_round(jobs[0], quiet)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = ["--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *rendezvous, "--node-rank=1"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    other = [*torchrun, "--nproc-per-node=1", "-m", "dpo_core.training.processes.rank_worker"]
    with subprocess.Popen(other, env=env) as second:
        try:
            torchrun = [*rendezvous, "--node-rank=0"]
            result = child.carry_out(changed(jobs[1], processes=1, torchrun=torchrun))
            assert second.wait(timeout=60) == 0
        finally:
            second.kill()
    assert result.processes == 2
    assert_same_training(jobs[1], jobs[0])


def test_shares_have_about_as_many_tokens() -> None:
    pairs = [TrainingPair(str(n), [1] * n, [1], [1]) for n in (50, 30, 20, 10, 5, 5)]
    shares = Team(0, 3).shares(pairs)
    assert sorted(p.pair_id for share in shares for p in share) == sorted(p.pair_id for p in pairs)
    # With their completions: 52 | 32 | 22, then 12 to the lightest: 34, then 7 to 32, 7 to 34.
    prompts = [sorted(len(p.prompt_ids) for p in share) for share in shares]
    assert prompts == [[50], [5, 30], [5, 10, 20]]
    assert Team(0, 3).shares(pairs[:1]) == [pairs[:1], [], []]


def test_auto_is_one_process_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert count_processes(TrainingConfig()) == 1
    assert count_processes(TrainingConfig(processes=3)) == 3
