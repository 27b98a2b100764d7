"""Append-only files: torn ends are mended, what else changed is refused, and nothing is misread."""

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dpo_core import json_lines
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import to_json
from tests.resealed import unseal

VALUES: list[dict[str, Any]] = [
    {"event": "asked", "n": 17, "text": "naïve – “J*” \n \ud800", "half": 0.5, "none": None},
    {"event": "answer", "deep": {"10": [1, True, "a\\b"], "2": {}}},
    {"event": "pulled"},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    json_lines.append(path, VALUES)
    return path


def read(path: Path, torn_before: bool = False) -> list[dict[str, Any]]:
    return [value for _, value in json_lines.read(path, "remedy", torn_before=torn_before)]


def flips(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(byte, bit, the content with that bit turned round); of each byte every fourth bit, and of
    the last line all."""
    last = content.rindex(b"\n", 0, -1)
    for at in range(len(content)):
        for bit in range(8) if at > last else (at % 8, (at + 3) % 8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            yield at, bit, bytes(changed)


@pytest.mark.parametrize("torn_before", [False, True])
def test_no_flipped_bit_is_ever_misread(path: Path, torn_before: bool) -> None:
    content = path.read_bytes()
    refused = harmless = 0
    for at, bit, changed in flips(content):
        path.write_bytes(changed)
        try:
            found = read(path, torn_before)
        except ArtifactCorrupted as error:
            refused += 1
            assert str(path) in error.message and error.remedy
        else:
            harmless += 1
            assert found == VALUES, (at, bit)
    assert refused > 100 * harmless, "all but a few that change no value, as E for e"


@pytest.mark.parametrize("torn_before", [False, True])
def test_nor_is_one_appended_to(path: Path, torn_before: bool) -> None:
    """A newline that became something else is no torn line, which would be cut off."""
    content = path.read_bytes()
    for bit in range(8):
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1 << bit]))
        for use in (lambda: read(path, torn_before), lambda: json_lines.append(path, VALUES)):
            with pytest.raises(ArtifactCorrupted, match="last line is damaged"):
                use()


def test_torn_at_any_byte(path: Path) -> None:
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    second = content.index(b"\n", first) + 1
    for end in range(second, len(content)):
        path.write_bytes(content[:end])
        assert read(path) == VALUES[:2]
        assert json_lines.end_of_lines(path) == second
    json_lines.append(path, VALUES[2:])
    assert path.read_bytes() == content


def test_a_long_torn_line_is_found_block_by_block(path: Path) -> None:
    content = path.read_bytes()
    json_lines.append(path, [{"text": "x" * 200_000}])
    os.truncate(path, path.stat().st_size - 10)
    json_lines.append(path, VALUES[:1])
    assert read(path) == [*VALUES, VALUES[0]]
    assert path.read_bytes().startswith(content)


def test_lines_of_earlier_versions_are_taken_as_they_are(path: Path) -> None:
    unseal(path)
    assert read(path) == VALUES
    json_lines.append(path, VALUES[:1])
    assert read(path) == [*VALUES, VALUES[0]]
    with path.open("a") as file:
        file.write('{"event": "asked"}\n')
    with pytest.raises(ArtifactCorrupted, match="line 5 is damaged: it has no checksum"):
        read(path)


def test_lines_that_earlier_versions_left_torn(path: Path) -> None:
    """They began a new line after a torn one, where this one cuts it off."""
    whole = to_json(VALUES[1])
    path.write_text(f"{whole[:20]}\n{whole}\n")
    assert read(path, torn_before=True) == [VALUES[1]]
    with pytest.raises(ArtifactCorrupted, match="line 1"):
        read(path)
    json_lines.append(path, VALUES[2:])
    with path.open("a") as file:
        file.write(f"{whole[:20]}\n{whole}\n")
    with pytest.raises(ArtifactCorrupted, match="line 4"):
        read(path, torn_before=True)


def test_a_part(path: Path) -> None:
    begin = json_lines.end_of_lines(path)
    json_lines.append(path, VALUES)
    assert [v for _, v in json_lines.read(path, "", begin=begin)] == VALUES
    path.write_bytes(path.read_bytes().replace(b"pulled", b"killed"))
    with pytest.raises(ArtifactCorrupted, match="line 6"):
        list(json_lines.read(path, "", begin=begin))


def test_an_append_reads_the_end_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_lines.append(path, [{"text": "x" * 100} for _ in range(10_000)])
    read_bytes = 0
    real = os.pread

    def counting(fd: int, count: int, at: int) -> bytes:
        nonlocal read_bytes
        read_bytes += count
        return real(fd, count, at)

    monkeypatch.setattr(os, "pread", counting)
    json_lines.append(path, VALUES)
    assert 0 < read_bytes <= 1 << 16 < path.stat().st_size


def test_a_full_disk_leaves_nothing_half(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, real = path.read_bytes(), os.write

    def full(fd: int, data: bytes) -> int:
        real(fd, data[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        json_lines.append(path, VALUES)
    assert path.read_bytes() == content


def test_new_folders_and_files_are_flushed_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    real = os.fsync

    def noting(fd: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{fd}")))
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    path = tmp_path / "campaign" / "labels" / "01.jsonl"
    json_lines.append(path, VALUES)
    assert set(flushed) == {tmp_path, tmp_path / "campaign", path.parent, path}
    flushed.clear()
    json_lines.append(path, VALUES)
    assert flushed == [path], "its name is there already"


def _append_often(path: Path, who: int) -> None:
    for n in range(50):
        json_lines.append(path, [{"who": who, "n": n, "text": "x" * 300}], flushed=False)


def test_several_processes_append_at_once(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"torn')
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_append_often, [path] * 4, range(4)))
    found = read(path)[len(VALUES) :]
    for who in range(4):
        assert [value["n"] for value in found if value["who"] == who] == list(range(50))


def test_what_is_on_disk_is_json(path: Path) -> None:
    lines = path.read_bytes().decode("utf-8", "surrogatepass").split("\n")[:-1]
    assert [list(json.loads(line))[-1] for line in lines] == ["crc32"] * 3
