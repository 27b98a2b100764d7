"""Read the rows of a prompt pool, which may grow while it is read.

A pool that another process writes to may end in half a row. A last JSONL line without line break
that is not JSON, and a parquet file without footer in a folder, count as being written: they are
skipped and counted, and the next round reads them. Anything else unreadable is an error.
"""

import json
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dpo_core.errors import PromptError
from dpo_core.import_path import load_function
from dpo_core.tables import iterate_rows
from generation.config import PromptsConfig

EXAMPLE = '{"prompt": "Why is the sky blue?"}'

_DECODE = json.JSONDecoder().raw_decode  # json.loads guesses the encoding of every line
_SUFFIXES = (".jsonl", ".parquet")
_PARQUET_END = b"PAR1"

Row = tuple[str, Any]
"""(place, content) of a row; the place is for messages."""


def read_prompt_rows(config: PromptsConfig, unfinished: Counter[str]) -> Iterator[Row]:
    """All rows in order; counts in `unfinished` those that are still being written."""
    if config.function is not None:
        return _numbered(config.function, _call(config.function))
    if config.dataset is not None:
        return _numbered(config.dataset, _dataset(config.dataset, config.dataset_split))
    assert config.path is not None
    path = Path(config.path)
    return _folder(path, unfinished) if path.is_dir() else _file(path, unfinished)


def prompt_files(folder: Path) -> list[Path]:
    """The prompt files of a folder, sorted by name; skips hidden files, which are being written."""
    files = (path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))


def _numbered(source: str, rows: Iterator[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield f"{source} row {number}", row


def _folder(folder: Path, unfinished: Counter[str]) -> Iterator[Row]:
    for path in prompt_files(folder):
        if path.suffix == ".parquet" and not _has_footer(path):
            unfinished["unfinished_file"] += 1
        else:
            yield from _file(path, unfinished, growing=True)


def _has_footer(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - len(_PARQUET_END), 0))
        return file.read() == _PARQUET_END


def _file(path: Path, unfinished: Counter[str], *, growing: bool = False) -> Iterator[Row]:
    """growing: the file may not hold a whole row yet."""
    if path.suffix == ".parquet":
        return _numbered(str(path), _parquet(path))
    return _json_lines(path, unfinished, growing)


def _call(function: str) -> Iterator[Any]:
    rows = load_function(function)
    try:
        yield from rows()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise PromptError(
            f"{function} raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})",
            "It is called without arguments and yields one row per prompt.",
        ) from error


def _dataset(name: str, split: str) -> Iterator[Any]:
    """Rows of a folder written by `save_to_disk`, of a folder of data files, or of a dataset on the
    hub in its newest version."""
    import datasets

    try:
        if _was_saved(Path(name)):
            saved = datasets.load_from_disk(name)
            rows = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        else:
            rows = datasets.load_dataset(name, split=split, streaming=True)
        yield from rows
    except (OSError, ValueError, KeyError) as error:
        raise PromptError(
            f"the dataset {name} cannot be read: {type(error).__name__}: {error}",
            "Give a folder written by save_to_disk, or the id of a dataset that this machine can "
            "load; prompts.dataset_split names its split.",
        ) from error


def _was_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder, as one split or several."""
    return any((folder / name).exists() for name in ("state.json", "dataset_dict.json"))


def _parquet(path: Path) -> Iterator[Any]:
    try:
        yield from iterate_rows(path)
    # Arrow raises OSError for broken pages, ValueError for invalid text and OverflowError for dates
    # out of range.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise PromptError(
            f"{path} is not a parquet file that can be read: {error}",
            "Write it again, or name a file of JSON lines .jsonl.",
        ) from None


def _json_lines(path: Path, unfinished: Counter[str], growing: bool) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                # The file may start with a byte order mark.
                text = str(line, "utf-8").removeprefix("\ufeff").strip()
                if not text:
                    continue
                row, end = _DECODE(text)
                yield f"{path}:{number}", row if end == len(text) else json.loads(text)
            except RecursionError:
                raise PromptError(
                    f"{path}:{number} is nested too deeply", f"One object per line: {EXAMPLE}"
                ) from None
            except ValueError as error:
                if (growing or number > 1) and not line.endswith(b"\n"):
                    unfinished["unfinished_row"] += 1
                    return
                raise PromptError(
                    f"{path}:{number} is not JSON: {error}", f"One object per line: {EXAMPLE}"
                ) from None
