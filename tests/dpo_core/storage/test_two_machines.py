"""Two machines and one bucket: who may go on, and what becomes of the one that slept."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import LEASE_S, STEPS, Campaign, hashes, run

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.remote import read_place
from dpo_core.errors import BadInput, CampaignLocked, RatchetError, TakenOver
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import open_objects
from dpo_core.storage.restore import stored_entries
from dpo_core.storage.uploads import Uploads, stored

LONG_S = 5.0


def _hold(root: Path, url: str, steps: int, told: Connection) -> None:
    """A machine that makes some steps, sleeps, and makes the others."""
    bucket = Bucket(open_objects(url, make=True), url)
    root.mkdir()
    made = 0

    def after_step() -> None:
        nonlocal made
        made += 1
        uploads.wait()
        if made == steps:
            told.send("made")
            told.recv()

    try:
        with stored(Layout(root), bucket, LEASE_S) as uploads:
            Campaign(root, uploads).run(after_step)
    except RatchetError as error:
        told.send(f"{type(error).__name__}: {error.message}")
    else:
        told.send("finished")


def test_one_that_slept_and_lost_its_lease_stops_and_writes_nothing(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/bucket"
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    first = context.Process(target=_hold, args=(tmp_path / "first", url, 3, there))
    first.start()
    assert first.pid is not None
    try:
        assert here.recv() == "made"
        bucket = Bucket(open_objects(url), url)
        with pytest.raises(CampaignLocked, match=f"process {first.pid} on"):
            bucket.take(LONG_S, None, time.sleep)  # it renews

        os.kill(first.pid, signal.SIGSTOP)
        os.waitpid(first.pid, os.WUNTRACED)
        second = run(tmp_path / "second", url)
        assert second.made == [f"1 {step}" for step in STEPS[3:]] + [f"2 {s}" for s in STEPS]
        before = bucket.history()

        os.kill(first.pid, signal.SIGCONT)
        here.send("go on")
        assert here.poll(30)
        assert here.recv().startswith("TakenOver: the campaign in file://")
        first.join(30)
    finally:
        first.kill()
        first.join()
    assert bucket.history() == before
    assert [e.outputs for e in stored_entries(before) if e.outputs] == [
        *hashes(tmp_path / "second").values()
    ]
    with pytest.raises(BadInput, match="have parted"):
        _grow_and_run(tmp_path / "first", url)


def _grow_and_run(root: Path, url: str) -> None:
    """The first machine had made a step of its own meanwhile, or does so now."""
    ledger = Ledger(Layout(root).ledger)
    ledger.append(ledger.read()[0])
    run(root, url)


def test_folder_goes_on_where_another_left_off_and_back(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/bucket"
    bucket = Bucket(open_objects(url, make=True), url)
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    with stored(Layout(a), bucket, LEASE_S) as uploads:
        part = Campaign(a, uploads)
        with pytest.raises(InterruptedError):
            part.run(_after(2, InterruptedError))
    assert run(b, url).made[0] == "1 judgements"
    assert run(a, url).made == []
    assert hashes(a) == hashes(b)
    assert Layout(a).labels(1).read_bytes() == Layout(b).labels(1).read_bytes()
    assert (place := read_place(Layout(a))) is not None and place.entries == len(
        Ledger(Layout(a).ledger).read()
    )


def test_process_killed_in_its_folder_goes_on_there_at_once(tmp_path: Path) -> None:
    """Nobody else has that folder, so that its lease need not run out."""
    url, root = f"file://{tmp_path}/bucket", tmp_path / "a"
    bucket = Bucket(open_objects(url, make=True), url)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    killed = context.Process(target=_hold, args=(root, url, 3, there))
    killed.start()
    assert here.recv() == "made"
    killed.kill()
    killed.join()
    with stored(Layout(root), bucket, lease_s=3600) as uploads:
        campaign = Campaign(root, uploads)
        campaign.run()
    assert campaign.made[0] == "1 preferences"


def test_taken_over_while_it_works_is_told_at_the_next_step(tmp_path: Path) -> None:
    url, root = f"file://{tmp_path}/bucket", tmp_path / "a"
    bucket = Bucket(open_objects(url, make=True), url)
    root.mkdir()
    ended: list[RatchetError] = []
    with (
        pytest.raises(TakenOver),
        stored(Layout(root), bucket, 3600, ended.append) as uploads,  # it renews nothing
    ):
        campaign = Campaign(root, uploads)
        campaign.run(lambda: _taken_by(tmp_path / "b", url, uploads))
    assert campaign.made == ["1 prompts"]
    assert [type(error) for error in ended] == [TakenOver]


def _taken_by(root: Path, url: str, uploads: Uploads) -> None:
    other = Bucket(open_objects(url), url)
    root.mkdir()
    with stored(Layout(root), other, 0.0):
        pass
    uploads.wait()


def _after(steps: int, error: type[Exception]) -> Callable[[], None]:
    left = [steps]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise error

    return count
