"""The rows of a prompt pool, from wherever they lie; it may grow while it is read.

A pool that is written to by others may end in half a row. The end of a JSONL file that has no line
break and is no JSON, and a parquet file of a folder that has no footer, are being written: they are
left out and counted, and the next round finds them whole. Anything else that cannot be read is an
error.
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
"""Where a row stands, and what it holds."""


def read_prompt_rows(config: PromptsConfig, unfinished: Counter[str]) -> Iterator[Row]:
    """All rows in their order; counts in `unfinished` what is being written just now."""
    if config.function is not None:
        return _numbered(config.function, _called(config.function))
    if config.dataset is not None:
        return _numbered(config.dataset, _dataset(config.dataset, config.dataset_split))
    assert config.path is not None
    path = Path(config.path)
    return _folder(path, unfinished) if path.is_dir() else _file(path, unfinished)


def prompt_files(folder: Path) -> list[Path]:
    """The prompt files of a folder in the order of their names; hidden ones are being written."""
    found = (path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def _numbered(source: str, rows: Iterator[Any]) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield f"{source} row {number}", row


def _folder(folder: Path, unfinished: Counter[str]) -> Iterator[Row]:
    for path in prompt_files(folder):
        if path.suffix == ".parquet" and not _has_footer(path):
            unfinished["unfinished_file"] += 1
        else:
            yield from _file(path, unfinished, begun=True)


def _has_footer(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - len(_PARQUET_END), 0))
        return file.read() == _PARQUET_END


def _file(path: Path, unfinished: Counter[str], *, begun: bool = False) -> Iterator[Row]:
    """begun: it may hold no whole row yet."""
    if path.suffix == ".parquet":
        return _numbered(str(path), _parquet(path))
    return _json_lines(path, unfinished, begun)


def _called(function: str) -> Iterator[Any]:
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
    """The rows of what `save_to_disk` left, of a folder of data files, or of a hub's dataset as it
    is now."""
    import datasets

    try:
        if _was_saved(Path(name)):
            saved = datasets.load_from_disk(name)
            found = saved[split] if isinstance(saved, datasets.DatasetDict) else saved
        else:
            found = datasets.load_dataset(name, split=split, streaming=True)
        yield from found
    except (OSError, ValueError, KeyError) as error:
        raise PromptError(
            f"the dataset {name} cannot be read: {type(error).__name__}: {error}",
            "Give a folder that save_to_disk made, or the id of a dataset that this machine can "
            "load; prompts.dataset_split names its split.",
        ) from error


def _was_saved(folder: Path) -> bool:
    """By `save_to_disk`, as one split or as several."""
    return any((folder / name).exists() for name in ("state.json", "dataset_dict.json"))


def _parquet(path: Path) -> Iterator[Any]:
    try:
        yield from iterate_rows(path)
    # Arrow tells of broken pages as of failures to read, and of texts that are none and of days
    # out of range as Python does.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise PromptError(
            f"{path} is not a parquet file that can be read: {error}",
            "Write it anew, or name a file of JSON lines .jsonl.",
        ) from None


def _json_lines(path: Path, unfinished: Counter[str], begun: bool) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                # A byte order mark may open the file.
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
                if (begun or number > 1) and not line.endswith(b"\n"):
                    unfinished["unfinished_row"] += 1
                    return
                raise PromptError(
                    f"{path}:{number} is not JSON: {error}", f"One object per line: {EXAMPLE}"
                ) from None
