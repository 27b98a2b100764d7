"""What the processes of one round hear, without a model or torchrun."""

import os
from collections.abc import Iterator
from multiprocessing.connection import Client, Connection
from types import SimpleNamespace

import pytest

from dpo_core.errors import ChildDied, Interrupted
from dpo_core.training.processes.rank_worker import ADDRESS, END, KEY, STOP
from dpo_core.training.processes.torchrun import _Ranks

JOB = b'{"a": "job"}'


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Ranks]:
    for name in (ADDRESS, KEY):
        monkeypatch.setenv(name, "")  # it sets them for its children, and they are put back
    with _Ranks(SimpleNamespace(model_dump_json=JOB.decode)) as ranks:  # type: ignore[arg-type]
        yield ranks


def connect() -> Connection:
    key = bytes.fromhex(os.environ[KEY])
    return Client(f"\0{os.environ[ADDRESS]}", authkey=key)


def heard(connection: Connection) -> bytes:
    assert connection.poll(30), "nothing came"
    return connection.recv_bytes()


def test_a_stop_reaches_processes_that_connect_later(ranks: _Ranks) -> None:
    early = connect()
    assert heard(early) == JOB
    ranks.stop()
    late = connect()
    assert [heard(early), heard(late), heard(late)] == [STOP, JOB, STOP]
    ranks.end()
    assert [heard(early), heard(late)] == [END, END]


@pytest.mark.parametrize(
    ("stop", "error", "said"),
    [
        (True, Interrupted, "before it had begun"),
        (False, ChildDied, "training process was killed"),
    ],
)
def test_a_process_that_ends_because_it_was_asked_to(
    ranks: _Ranks, stop: bool, error: type[Exception], said: str
) -> None:
    process = connect()
    assert heard(process) == JOB
    if stop:
        ranks.stop()
    process.close()  # as SIGTERM ends it while torch is imported
    ranks.events.put({"event": "launcher ended", "why": "a process failed", "killed": True})
    with pytest.raises(error, match=said):
        ranks.result(lambda done, total, unit: None)
