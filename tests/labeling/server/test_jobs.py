"""Background jobs of the embedded server: retried, and never lost silently."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from labeling.server.embedded.ratchet_argilla.jobs import Job, Runner


def kept(runner: Runner) -> list[Path]:
    return sorted(runner.journal.glob("*.json"))


async def soon(condition: Callable[[], object]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def recorded(calls: list[Any]) -> Callable[..., Awaitable[None]]:
    async def run(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    return run


def test_a_job_runs_and_is_forgotten(tmp_path: Path) -> None:
    calls: list[Any] = []

    async def main() -> None:
        runner = Runner(tmp_path / "jobs")
        runner.resume()
        delay = runner.offer("job", Job(recorded(calls), (), repeatable=True))
        handle = delay("a", b=1)
        assert handle.get_status() == "queued" and len(kept(runner)) == 1
        assert runner.handles[handle.id] is handle
        await soon(lambda: handle.get_status() == "finished")
        await soon(lambda: kept(runner) == [])

    asyncio.run(main())
    assert calls == [(("a",), {"b": 1})]


def test_a_job_is_tried_again_then_given_up_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    async def fail() -> None:
        tries.append(1)
        raise ValueError("the token is 12345")

    async def main() -> None:
        runner = Runner(tmp_path / "jobs")
        runner.resume()
        handle = runner.offer("job", Job(fail, (0.001, 0.001), repeatable=True))()
        await soon(lambda: handle.get_status() == "failed" and kept(runner) == [])

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert len(tries) == 3
    assert [record.message for record in caplog.records] == [
        "job failed (ValueError), again in 0 s",
        "job failed (ValueError), again in 0 s",
        "job failed (ValueError)",
    ]


def test_what_a_stop_cut_short_runs_at_the_next_start_with_the_same_arguments(
    tmp_path: Path,
) -> None:
    dataset, at, calls = uuid4(), datetime(2025, 1, 31, 12, tzinfo=UTC), list[Any]()
    data = {"uuid": "not one", "nested": [1, None, "é"]}

    async def never_done(*_: Any, **__: Any) -> None:
        await asyncio.sleep(3_600)

    async def first() -> None:
        runner = Runner(tmp_path / "jobs")
        runner.resume()
        delay = runner.offer("job", Job(never_done, (), repeatable=True))
        delay(dataset, "event", timestamp=at, data=data)
        await asyncio.sleep(0.01)
        await runner.close()
        assert len(kept(runner)) == 1

    async def second() -> None:
        runner = Runner(tmp_path / "jobs")
        runner.offer("job", Job(recorded(calls), (), repeatable=True))
        runner.resume()
        await soon(lambda: kept(runner) == [])

    asyncio.run(first())
    asyncio.run(second())
    assert calls == [((dataset, "event"), {"timestamp": at, "data": data})]
    assert isinstance(calls[0][0][0], UUID)


def test_what_must_not_run_twice_is_named_and_its_arguments_stay_off_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    async def main() -> None:
        first = Runner(tmp_path / "jobs")
        first.resume()
        delay = first.offer("export", Job(recorded(calls), (), repeatable=False))
        delay(token="hf_secret")
        assert "hf_secret" not in kept(first)[0].read_text()
        await first.close()  # before it began
        second = Runner(tmp_path / "jobs")
        second.offer("export", Job(recorded(calls), (), repeatable=False))
        second.resume()
        assert kept(second) == []

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert calls == []
    [record] = caplog.records
    assert record.message == "export was interrupted when the server stopped: start it again"


def test_jobs_of_one_name_run_one_after_another(tmp_path: Path) -> None:
    running, most = 0, 0

    async def work(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async def main() -> None:
        runner = Runner(tmp_path / "jobs")
        runner.resume()
        delay = runner.offer("job", Job(work, (), repeatable=True))
        handles = [delay(number) for number in range(5)]
        await soon(lambda: all(handle.get_status() == "finished" for handle in handles))

    asyncio.run(main())
    assert most == 1
