"""Writes that a reader, or a machine that loses power, never sees half of."""

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, flush it to disk, rename it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(beside)
        flush(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    flush(path.parent)


def is_unfinished(path: Path) -> bool:
    """Whether `path` is what a killed `write_atomic` left."""
    return path.name.startswith(".") and path.suffix == ".tmp"


def write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write for nobody's eyes but the owner's, at no moment readable by others."""

    def write(beside: Path) -> None:
        beside.unlink(missing_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)

    write_atomic(path, write)


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add whole lines to a file that several processes may append to; flushed when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # A line that a crash tore would swallow the next one.
        end = file.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        text = ("\n" if torn else "") + "\n".join(lines) + "\n"
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    """fsync a file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def flush_tree(folder: Path) -> None:
    """fsync everything below `folder`, then the folder itself."""
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            flush(Path(directory, name))
        flush(Path(directory))
