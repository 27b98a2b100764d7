"""A campaign on the clock, on PostgreSQL: by Ratchet's own Prefect server, then by a remote one."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest
from inbox import Inbox
from postgres import postgres
from prefect.client.orchestration import SyncPrefectClient
from tiny_runs import PER_ROUND, Pages, Tiny, prefect_server
from waiting_runs import TIMEOUT_S, Running, until

from dpo_core import preloaded
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.tables import read_rows
from flows.prefect.server import free_port
from flows.worker.claim import Claim

CRON = "* * * * * */5"  # every five seconds
PROMPTS = 31  # of which the train split holds those of two rounds, the second not a full one


@pytest.mark.timeout(1200)
def test_a_campaign_on_the_clock(tmp_path: Path) -> None:
    port, remote = free_port(), free_port()
    with postgres() as database, Inbox() as inbox:
        # Started and not forked, its sampler is killed while it starts, and a task waits for it.
        hook = {"TINY_HOOK": inbox.url, preloaded.SOCKET: ""}
        tiny = Tiny(tmp_path, PREFECT_API_DATABASE_CONNECTION_URL=database, **hook).create()
        tiny.add_prompts("a.jsonl", 0, PROMPTS)
        _is_put_on_it(tiny)
        registry, aside = tiny.folder / "worker/registry.json", tiny.folder / "aside.json"
        registry.rename(aside)  # as if an earlier Ratchet had made the schedule
        with tiny.start("worker", "--port", str(port)) as worker:
            worker.says("Ctrl-C stops")
            said = f"tiny: the run names the campaign folder {tiny.layout.root}, which was not "
            assert said in worker.output()
            aside.rename(registry)
            pages = Pages(port, tiny.folder / "worker")
            _ticks(tiny, worker, pages)
            _is_paused_cancelled_and_tried_again(tiny, worker, pages)
            tiny.kill("flows.prefect.server")
            assert worker.process.wait(TIMEOUT_S) == 1
            assert "flows.prefect.server was killed by SIGKILL" in worker.output()
        assert not (tiny.folder / "worker/prefect/prefect.db").exists()
        there = Tiny(tmp_path, PREFECT_API_URL=f"http://127.0.0.1:{remote}/api", **hook)
        _goes_on_with_a_remote_server(there, remote, database)
        told = [(came["event"], came["campaign"], came["text"]) for came in inbox.came]
    print(*told, sep="\n")
    decisions = [text for event, _, text in told if event == "gate"]
    assert [text.split(":")[0] for text in decisions] == ["round 1", "round 2", "round 3"]
    (failure,) = (text for event, _, text in told if event == "failure")
    assert "no such file: /nowhere" in failure
    written = (path.read_bytes() for path in tiny.layout.root.rglob("*") if path.is_file())
    assert not any(b"s3cret" in content for content in written)


def _is_put_on_it(tiny: Tiny) -> None:
    where = ("--timezone", "Europe/Berlin", "--campaign-dir", "campaign")
    made = tiny.ratchet("schedule", "tiny.yaml", "--cron", CRON, *where)
    print(made.stdout)
    assert made.returncode == 0, made.stderr
    assert "tiny: 1 round at each tick of '* * * * * */5' (Europe/Berlin)" in made.stdout
    assert made.stdout.endswith("it needs a worker at these times: ratchet worker\n")


def _ticks(tiny: Tiny, worker: Running, pages: Pages) -> None:
    """The first one adds round 1, although its sampler dies; those beside it are refused."""
    worker.says("tiny: starts")
    tiny.kill("generation.worker")
    worker.says("tiny, skipped: nothing to do: the campaign already has the run tiny adds round 1")
    print(f"round 1 took {worker.says('tiny adds round 1: completed'):.0f} s more")
    pages_shown = pages.state("tiny adds round 1")
    assert pages_shown["type"] == "COMPLETED"
    assert pages_shown["message"].startswith("round 1 finished; ")
    assert {"auto-scheduled", "rounds:1-1"} <= set(pages.run("tiny adds round 1")["tags"])
    skipped = pages.state("tiny, skipped")
    assert (skipped["type"], skipped["name"]) == ("COMPLETED", "Skipped")
    tried = pages.task_states("sample") + pages.task_states("answer_held_out")
    assert "AwaitingRetry" in tried
    assert "Failed" not in tried


def _is_paused_cancelled_and_tried_again(tiny: Tiny, worker: Running, pages: Pages) -> None:
    """The second tick, by what Prefect's pages send, resumed by the command."""
    until(lambda: pages.runs().get("tiny adds round 2") == "Running", worker.output)
    pages.switch_off()
    pages.pause("tiny adds round 2")
    worker.says("tiny adds round 2: paused")
    assert len(tiny.processes()) == 2, tiny.processes()  # the worker and the server
    until(lambda: _stays_paused(pages), lambda: str(pages.state("tiny adds round 2")))
    assert tiny.ratchet("resume", "campaign").stdout == "tiny adds round 2 resumes\n"
    until(lambda: "completions" in _steps(tiny, 2), worker.output)
    pages.cancel("tiny adds round 2")
    worker.says("tiny adds round 2: cancelled")
    assert pages.state("tiny adds round 2")["type"] == "CANCELLED"
    assert "Running" not in pages.runs().values()
    pages.retry("tiny adds round 2")
    worker.says("tiny adds round 2: completed")
    assert _steps(tiny, 2).count("completions") == 1


def _stays_paused(pages: Pages) -> bool:
    """The time at which Prefect would make the run fail is taken away."""
    state = pages.state("tiny adds round 2")
    return (state["type"], state["state_details"]["pause_timeout"]) == ("PAUSED", None)


def _goes_on_with_a_remote_server(tiny: Tiny, port: int, database: str) -> None:
    """On the same database: it knows the schedule. It is restarted while a round is played."""
    folder = tiny.folder / "remote"
    with prefect_server(folder, port, database) as server, tiny.start("worker") as worker:
        pages = Pages(port)
        worker.says("Ctrl-C stops")
        _has_no_second_worker(tiny, port)
        assert pages.start(rounds=0) == pages.start(mode="sometimes") == 409
        assert pages.start() == 201
        worker.says("nothing to do: all")
        assert pages.state("tiny, nothing to do")["type"] == "COMPLETED"
        assert pages.start(overrides=["prompts.path=/nowhere"]) == 201
        worker.says("failed")
        assert pages.start(overrides=["judge.function=os:system"]) == 201
        worker.says("refused  the run names the function os:system, which was not submitted")
        tiny.add_prompts("b.jsonl", PROMPTS, PROMPTS)
        _ends_when_deleted(pages, worker)
        _plays_round_3(pages, worker)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(TIMEOUT_S)
        with prefect_server(folder, port, database):
            worker.says("tiny adds round 3: completed  round 3 finished")
            listed = tiny.ratchet("schedule", "--list")
            assert "tiny  '* * * * * */5' (Europe/Berlin)  next: paused" in listed.stdout, listed
            removed = tiny.ratchet("schedule", "tiny", "--remove")
            assert (removed.returncode, removed.stdout) == (0, "tiny: removed\n")
            assert worker.end(signal.SIGTERM) == 0
    drawn = [_drawn(tiny, number) for number in (1, 2, 3)]
    print("prompts of each round:", [len(ids) for ids in drawn])
    assert len(drawn[0]) == PER_ROUND
    assert len(set().union(*drawn)) == sum(len(ids) for ids in drawn)  # each is used once


def _ends_when_deleted(pages: Pages, worker: Running) -> None:
    _plays_round_3(pages, worker)
    pages.delete("tiny adds round 3")
    worker.says("deleted in Prefect's pages")


def _plays_round_3(pages: Pages, worker: Running) -> None:
    assert pages.start() == 201
    until(lambda: pages.runs().get("tiny adds round 3") == "Running", worker.output)


def _has_no_second_worker(tiny: Tiny, port: int) -> None:
    """Whether it were on the same machine or on another one."""
    second = tiny.ratchet("worker", "--dir", "second")
    assert second.returncode == 2
    has_one = f"the Prefect server at http://127.0.0.1:{port}/api already has a worker, in "
    assert f"{has_one}{tiny.folder}/worker on {socket.gethostname()}" in second.stderr
    with SyncPrefectClient(f"http://127.0.0.1:{port}/api") as client:
        claim = Claim(client, Layout(tiny.folder / "worker"), "campaign/ratchet")
        claim.keep()  # it is the first one's own
        with pytest.MonkeyPatch.context() as there:
            there.setattr(socket, "gethostname", lambda: "elsewhere")
            far = Claim(client, Layout(tiny.folder / "worker"), "campaign/ratchet")
        with pytest.raises(BadInput, match="already has a worker") as refused:
            far.take()
    assert "try again in two minutes" in refused.value.remedy


def _steps(tiny: Tiny, number: int) -> list[str]:
    lines = tiny.layout.ledger.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.endswith("}")]
    return [entry["step"] for entry in entries if entry["round"] == number]


def _drawn(tiny: Tiny, number: int) -> set[str]:
    (table,) = tiny.layout.round(number).glob("prompts-*/prompts.parquet")
    return {row["prompt_id"] for row in read_rows(table)}
