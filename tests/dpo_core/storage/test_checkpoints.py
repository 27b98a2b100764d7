"""Checkpoints of a step that is being made: in the bucket, and on the next machine."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import LEASE_S, Campaign

from dpo_core.campaign.layout import Layout
from dpo_core.storage import uploads as module
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.mirror import mirror
from dpo_core.storage.objects import open_objects
from dpo_core.storage.restore import stored_files
from dpo_core.storage.uploads import Uploads, stored
from tests.until import until

STEP = "rounds/01/.training-12345678.partial/checkpoints"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@contextmanager
def machine(root: Path, checkpoints: bool = True) -> Iterator[tuple[Uploads, Bucket]]:
    url = f"file://{root.parent}/bucket"
    bucket = Bucket(open_objects(url, make=True), url, patience_s=1.0)
    root.mkdir(exist_ok=True)
    with stored(Layout(root), bucket, LEASE_S, checkpoints=checkpoints) as uploads:
        yield uploads, bucket


def save(root: Path, steps: int) -> None:
    """As a trainer does: whole, under its name at once, and then without the one before."""
    folder = root / STEP
    made = folder / ".unfinished"
    (made / "tensors").mkdir(parents=True)
    (made / "tensors" / "0.distcp").write_bytes(steps.to_bytes(4) * 50_000)
    (made / "progress.json").write_text(f'{{"steps": {steps}}}')
    before = [*folder.glob("step-*")]
    made.rename(folder / f"step-{steps:08d}")
    for each in before:
        for path in sorted(each.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        each.rmdir()


def stored_steps(bucket: Bucket) -> set[str]:
    return {
        name.split("/")[4] for name in stored_files(bucket.history()) if "/checkpoints/" in name
    }


def contents(root: Path) -> dict[str, bytes]:
    folder = root / STEP
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_next_machine_has_the_newest_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with machine(first) as (_, bucket):
        for steps in (10, 20):
            save(first, steps)
            until(lambda: stored_steps(bucket) == {f"step-{steps:08d}"})  # noqa: B023
    with machine(second) as (uploads, bucket):
        assert contents(second) == contents(first)
        uploads.wait()  # a segment that does not forget it
        assert stored_steps(bucket) == {"step-00000020"}
        save(second, 30)
        until(lambda: stored_steps(bucket) == {"step-00000030"})
    with machine(first):
        assert {name.split("/")[0] for name in contents(first)} == {
            "step-00000020",
            "step-00000030",
        }


def test_what_training_saved_when_it_was_stopped_is_stored(tmp_path: Path) -> None:
    first = tmp_path / "first"
    with pytest.raises(KeyboardInterrupt), machine(first) as (_, bucket):
        save(first, 10)
        raise KeyboardInterrupt
    assert stored_steps(bucket) == {"step-00000010"}


def test_the_end_of_the_step_is_the_end_of_its_checkpoints(tmp_path: Path) -> None:
    first = tmp_path / "first"
    with machine(first) as (uploads, bucket):
        save(first, 10)
        until(lambda: stored_steps(bucket))
        (first / STEP).parent.rename(first / "rounds/01/training-12345678")
        Campaign(first, uploads).run()
        uploads.wait()
        assert stored_steps(bucket) == set()
    assert [*(tmp_path / "bucket" / "checkpoints").iterdir()]  # nothing is ever removed


def test_only_where_it_is_asked_for_and_never_to_show_a_campaign(tmp_path: Path) -> None:
    first = tmp_path / "first"
    with machine(first, checkpoints=False) as (uploads, bucket):
        save(first, 10)
        uploads.wait()
        assert stored_steps(bucket) == set()
    with machine(first) as (_, bucket):
        until(lambda: stored_steps(bucket))
    assert not [*mirror(bucket.url).rglob("progress.json")]


def test_one_that_is_not_whole_any_more_is_left_out(tmp_path: Path) -> None:
    """As where a rule of the store removed it."""
    first, second = tmp_path / "first", tmp_path / "second"
    with machine(first) as (_, bucket):
        save(first, 10)
        until(lambda: stored_steps(bucket))
    next((tmp_path / "bucket" / "checkpoints").iterdir()).unlink()
    said: list[str] = []
    bucket.say = said.append
    second.mkdir()
    with stored(Layout(second), bucket, LEASE_S, checkpoints=True):
        assert contents(second) == {}
    assert len(said) == 1 and "its round is trained anew" in said[0]
