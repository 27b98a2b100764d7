"""What was found out about a file is remembered for as long as nothing about the file moves."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dpo_core.hashing import file_sha256
from dpo_core.seen_files import cache_by_file, persistent_sha256

Hash = Callable[[Path], str]


class Runs:
    """Processes one after the other that hash the same files, all of them old enough to remember.

    reads: the files that were read, each time that one was.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self.reads: list[Path] = []

    def __call__(self, path: Path) -> str:
        return self.process()(path)

    def process(self, files: int = 9) -> Hash:
        return cache_by_file(self._read, files=files, settled_ns=-1, memory=self._memory)

    def _read(self, path: Path) -> str:
        self.reads.append(path)
        return file_sha256(path)


@pytest.fixture
def run(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "cache" / "file_hashes.json")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_file_is_read_once_over_processes(tmp_path: Path, run: Runs) -> None:
    file = written(tmp_path / "model.safetensors", b"weights")
    assert {run(file) for _ in range(3)} == {file_sha256(file)} and len(run.reads) == 1


def test_whatever_moves_it_is_read_again(tmp_path: Path, run: Runs) -> None:
    file = written(tmp_path / "config.json", b"one")
    times = file.stat()
    before = run(file)
    time.sleep(0.02)  # a tick of the file system's clock
    file.write_bytes(b"two")  # of the same size, in the same inode, its time set back
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(file) == file_sha256(file) != before
    written(tmp_path / "other", b"six").replace(file)
    assert run(file) == file_sha256(file)
    assert len(run.reads) == 3


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    memory = tmp_path / "file_hashes.json"
    persistent_sha256(memory)(written(tmp_path / "config.json", b"one"))
    assert not memory.exists()


@pytest.mark.parametrize("damage", ["{", "5", '["a"]', '{"config.json": [3, 1, 2, 2, "hash"]}'])
def test_a_memory_that_is_damaged_or_another_versions_does_no_harm(
    tmp_path: Path, run: Runs, damage: str
) -> None:
    file = written(tmp_path / "config.json", b"one")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file_hashes.json").write_text(damage)
    assert run(file) == run(file) == file_sha256(file)
    assert len(run.reads) == 1


def test_so_many_files_are_remembered_and_no_more(tmp_path: Path, run: Runs) -> None:
    files = [written(tmp_path / str(n), b"x") for n in range(3)]
    hashed = run.process(files=2)
    for file in files:
        hashed(file)
    assert len(run.reads) == 3
    hashed(files[2])
    assert len(run.reads) == 3
    hashed(files[0])
    assert len(run.reads) == 4
