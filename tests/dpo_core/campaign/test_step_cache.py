"""A cache of steps that several campaigns share: nothing damaged is taken from it, and nothing that
goes wrong with it is an error."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.step_cache import FILES, RESULT, StepCache, machine_key
from dpo_core.processor import describe_processors
from dpo_core.training.results import BaseFacts

MADE = StepResult(3, 2, {"too_long": 1}, BaseFacts(policy="p", steps=7), {"torch": "2"})
WEIGHTS = bytes(range(256)) * 8


class Maker:
    """Makes a step as often as it is asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> StepResult:
        self.calls += 1
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(WEIGHTS)
        (folder / "curve").write_bytes(b"curve")
        return MADE


class Run:
    """A campaign beside others: its cache, what it said, and the folders of its steps."""

    def __init__(self, tmp_path: Path, most_bytes: float = 1e6) -> None:
        self.said: list[str] = []
        self.cache = StepCache(tmp_path / "bases", most_bytes, BaseFacts, self.said.append)
        self.make = Maker()
        self._out = tmp_path

    def obtain(self, key: str, name: str) -> Path:
        out = self._out / name
        out.mkdir()
        assert self.cache.obtain(key, out, self.make) == MADE
        assert (out / "policy" / "weights").read_bytes() == WEIGHTS
        assert sorted(path.name for path in out.iterdir()) == ["curve", "policy"]
        return out


def test_second_campaign_gets_a_copy(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first, second = run.obtain("a", "1"), run.obtain("a", "2")
    assert run.make.calls == 1 and len(run.said) == 1
    assert (first / "curve").stat().st_ino != (second / "curve").stat().st_ino
    run.obtain("b", "3")
    assert run.make.calls == 2, "another key is another step"


@pytest.mark.parametrize("name", [RESULT, f"{FILES}/policy/weights", f"{FILES}/curve"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_entry_is_made_anew_with_one_notice(tmp_path: Path, name: str, damage: str) -> None:
    run = Run(tmp_path)
    run.obtain("a", "1")
    path = run.cache.folder / "a" / name
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) * (damage == "flipped"))
    if damage == "gone":
        path.unlink()
    run.obtain("a", "2")
    assert run.make.calls == 2
    assert [line for line in run.said if "damaged" in line] == run.said[:1] != []
    run.obtain("a", "3")
    assert run.make.calls == 2, "the new entry is intact"


def test_entries_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    run = Run(tmp_path, most_bytes=2.9 * len(WEIGHTS))  # room for two, with their results
    for key in ("a", "b", "a", "c"):
        run.obtain(key, f"{key}-{run.make.calls}-{len(run.said)}")
    assert sorted(path.name for path in run.cache.folder.iterdir()) == ["a", "c"]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, most_bytes=len(WEIGHTS) - 1)
    run.obtain("a", "1")
    assert not run.cache.folder.exists()


def test_entry_on_a_read_only_disk_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.obtain("a", "1")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    run.obtain("a", "2")
    assert run.make.calls == 1 and not any("damaged" in line for line in run.said)


def test_full_disk_of_the_campaign_is_no_fault_of_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    run.obtain("a", "1")
    (tmp_path / "2").mkdir()

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as full, pytest.raises(OSError, match="no space left"):
        full.setattr(shutil, "copyfile", fill)
        run.cache.obtain("a", tmp_path / "2", run.make)
    run.obtain("a", "3")
    assert run.make.calls == 1 and (run.cache.folder / "a").exists()


def test_full_disk_of_the_cache_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfile", fill)
        run.obtain("a", "1")
    assert [*run.cache.folder.iterdir()] == [] and run.said == []


def test_place_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "bases").write_text("a file")
    run = Run(tmp_path)
    run.obtain("a", "1")
    run.obtain("a", "2")
    assert run.make.calls == 2 and run.said == []


def test_key_knows_threads_code_and_processors() -> None:
    makes = "dpo_core.training.warm_start.base_policy:prepare_base"
    threads, code, *_, processors = machine_key(makes, 1)
    assert threads == 1 and code != machine_key("dpo_core.hashing:digest", 1)[1]
    assert processors == describe_processors() != []


def test_two_runs_at_once(tmp_path: Path) -> None:
    both = Barrier(2)

    def obtain(name: str) -> Run:
        run, make = Run(tmp_path), Maker()

        def together(folder: Path) -> StepResult:
            both.wait()
            return make(folder)

        (tmp_path / name).mkdir()
        assert run.cache.obtain("a", tmp_path / name, together) == MADE
        return run

    with ThreadPoolExecutor(2) as runs:
        assert [run.said for run in runs.map(obtain, ("1", "2"))] == [[], []]
    assert [path.name for path in (tmp_path / "bases").iterdir()] == ["a"]
    later = Run(tmp_path)
    later.obtain("a", "3")
    assert later.make.calls == 0
