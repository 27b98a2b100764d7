"""Hashes of a user's files are remembered for as long as nothing about the file moves."""

import os
import time
from pathlib import Path

import pytest

from dpo_core.campaign import file_hashes
from dpo_core.campaign.file_hashes import FileHashes
from dpo_core.hashing import file_sha256


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, each time that one is; all of them are old enough to remember."""
    found: list[Path] = []

    def counted(path: Path) -> str:
        found.append(path)
        return file_sha256(path)

    monkeypatch.setattr(file_hashes, "file_sha256", counted)
    monkeypatch.setattr(file_hashes, "_RECENT_S", -1.0)
    return found


def test_a_file_is_read_once_over_runs(tmp_path: Path, reads: list[Path]) -> None:
    file, memory = tmp_path / "model.safetensors", tmp_path / "cache" / "file_hashes.json"
    file.write_bytes(b"weights")
    hashes = {FileHashes(memory)(file) for _ in range(3)}
    assert hashes == {file_sha256(file)} and len(reads) == 1


def test_whatever_moves_it_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    file, memory = tmp_path / "config.json", tmp_path / "file_hashes.json"
    file.write_bytes(b"one")
    times = file.stat()
    before = FileHashes(memory)(file)
    time.sleep(0.02)  # a tick of the file system's clock
    file.write_bytes(b"two")  # of the same size, in the same inode, its time set back
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert FileHashes(memory)(file) == file_sha256(file) != before
    other = tmp_path / "other"
    other.write_bytes(b"six")
    other.replace(file)
    assert FileHashes(memory)(file) == file_sha256(file)
    assert len(reads) == 3


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    file, memory = tmp_path / "config.json", tmp_path / "file_hashes.json"
    file.write_bytes(b"one")
    FileHashes(memory)(file)
    assert not memory.exists()


def test_a_damaged_memory_is_made_anew(tmp_path: Path, reads: list[Path]) -> None:
    file, memory = tmp_path / "config.json", tmp_path / "file_hashes.json"
    file.write_bytes(b"one")
    memory.write_text("{")
    assert FileHashes(memory)(file) == FileHashes(memory)(file) == file_sha256(file)
    assert len(reads) == 1
