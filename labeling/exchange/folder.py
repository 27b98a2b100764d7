"""Write a new folder atomically, and the file names of an imported one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.atomic import flush, flush_tree
from dpo_core.errors import LabelsError

PAIRS = "pairs.parquet"
"""The imported pairs, schema IMPORTED."""

REJECTED = "rejected.jsonl"
"""The unreadable rows: place and reason of each."""

SUMMARY = "import.json"


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write into, renamed to `path` when the block succeeds.

    Raises LabelsError when `path` is not empty or cannot be created.
    """
    check_free(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
    except OSError as error:
        raise LabelsError(
            f"{path} cannot be created: {error.strerror}", "Name a folder where you may write."
        ) from None
    try:
        yield beside
        flush_tree(beside)
        os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    flush(path.parent)


def check_free(path: Path) -> None:
    """Raise LabelsError unless `path` is new or an empty folder."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        state = "is not empty" if path.is_dir() else "is a file"
        raise LabelsError(
            f"{path} {state}", f"Name a new folder, or move it away: mv {path} {path}.old"
        )
