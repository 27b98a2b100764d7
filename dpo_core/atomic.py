"""Writes that a reader, or a machine that loses power, never sees half of."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a path beside `path`, flush it to disk, rename it to `path`."""
    make_folder(path.parent)
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


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; each that is new is on disk when it returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush(folder.parent)


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
