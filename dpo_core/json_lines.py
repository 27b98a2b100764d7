"""Append-only files of JSON lines: the ledger, logs of labels and decisions, judges' spending.

Every line is sealed (dpo_core.sealed). Several processes may append; lines never interleave. A
crash can tear only the last line, which is ignored when the file is read and cut off before the
next append. Any other difference from what was written is an error.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_core.atomic import flush, make_folder
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import SEAL, BrokenSeal, encode_text, read_sealed, seal, to_json

_BLOCK = 1 << 16
_MARK = f'"{SEAL}"'.encode()


def append(path: Path, values: Iterable[Mapping[str, object]], *, flushed: bool = True) -> None:
    """Append a line for each value; on a full disk, all or none. Reads only the file's end.

    flushed: lines are on disk on return, so they survive a power loss as well as a killed process.
    Raises ArtifactCorrupted where the file does not end as a crash could leave it.
    """
    lines = b"".join(encode_text(to_json(seal(value))) + b"\n" for value in values)
    if not lines:
        return
    make_folder(path.parent)
    with path.open("ab+", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end_of_whole_lines(path, file.fileno())
        os.ftruncate(file.fileno(), end)
        try:
            _write(file.fileno(), lines)
            if flushed:
                os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise
    if end == 0:  # perhaps a new file, whose name must be flushed as well
        flush(path.parent)


def read(
    path: Path,
    remedy: str,
    *,
    begin: int = 0,
    end: int | None = None,
    torn_before: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, value) of the lines from byte `begin` to `end`, numbered from `begin`.

    remedy: what to do about a damaged line. torn_before: also skip lines that a crash tore before
    others were appended, as earlier versions did, until the first sealed line. Lines of earlier
    versions have no seal and are not checked. Raises ArtifactCorrupted for a line that differs from
    what was written.
    """
    any_sealed = False
    for number, line in enumerate(_whole_lines(path, begin, end), 1):
        if not line:
            continue
        try:
            value, has_seal = read_sealed(line)
            if any_sealed and not has_seal:
                raise BrokenSeal("it has no checksum, but lines before it have one")
        except BrokenSeal as broken:
            if torn_before and not any_sealed and _may_be_torn(line):
                continue
            line_number = number + _lines_before(path, begin)
            raise _damaged(path, f"line {line_number}", broken, remedy) from None
        any_sealed |= has_seal
        yield number, value


def end_of_lines(path: Path) -> int:
    """Byte offset at which the last whole line ends; 0 for a missing file."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return _end_of_whole_lines(path, file.fileno())


def _whole_lines(path: Path, begin: int, end: int | None) -> list[bytes]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(begin)
        *lines, rest = file.read(-1 if end is None else max(0, end - begin)).split(b"\n")
    _check_torn(path, rest)
    return lines


def _end_of_whole_lines(path: Path, fd: int) -> int:
    size = os.fstat(fd).st_size
    rest, at = b"", size
    while at > 0:
        step = min(_BLOCK, at)
        at -= step
        block = os.pread(fd, step, at)
        if (newline := block.rfind(b"\n")) >= 0:
            rest = block[newline + 1 :] + rest
            break
        rest = block + rest
    _check_torn(path, rest)
    return size - len(rest)


def _lines_before(path: Path, begin: int) -> int:
    with path.open("rb") as file:
        return file.read(begin).count(b"\n")


def _check_torn(path: Path, rest: bytes) -> None:
    """Raise ArtifactCorrupted unless `rest`, after the last newline, is the beginning of a line.

    A whole object followed by one byte was a line whose newline has changed.
    """
    try:
        read_sealed(rest[:-1])
    except BrokenSeal:
        return
    raise _damaged(
        path,
        "the last line",
        BrokenSeal("it does not end with a newline"),
        "Restore the file from a backup, or replace its last byte by a newline.",
    )


def _may_be_torn(line: bytes) -> bool:
    return not line.endswith(b"}") and _MARK not in line


def _damaged(path: Path, place: str, broken: BrokenSeal, remedy: str) -> ArtifactCorrupted:
    return ArtifactCorrupted(f"{path} {place} is damaged: {broken}", remedy)


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]
