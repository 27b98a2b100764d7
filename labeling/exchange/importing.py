"""Preference sets of others become a folder of pairs, row by row; what cannot be read is listed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from dpo_core.atomic import write_json
from dpo_core.errors import LabelsError
from dpo_core.schemas import IMPORTED
from dpo_core.tables import TEXTS_AT_ONCE, write_rows
from labeling.exchange.folder import PAIRS, REJECTED, SUMMARY, new_folder
from labeling.exchange.formats.kinds import format_of, read_as
from labeling.exchange.formats.verdicts import COLUMNS
from labeling.exchange.imported_pair import (
    ImportedPair,
    UndecidedRow,
    UnreadableRow,
    as_messages,
    as_text,
    imported_row,
)
from labeling.exchange.rows import SourceRow, data_files, read_file

SHOWN = 20
"""Rows that could not be read and are named on the screen."""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class ImportOptions:
    """format: of all files, or `auto`. columns: prompt, a, b and verdict → their names in a CSV.

    prompts: `chat` makes plain prompts one user message, `plain` makes lone user messages text.
    """

    format: str = "auto"
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    prompts: Literal["as_given", "chat", "plain"] = "as_given"


@dataclass(frozen=True)
class ImportResult:
    """What came of an import; `problems` are the first SHOWN rows that could not be read."""

    rows: int
    kept: int
    dropped: Mapping[str, int]
    unreadable: int
    formats: Mapping[str, int]
    problems: Sequence[tuple[str, str]] = ()


def import_files(files: Sequence[Path], out: Path, options: ImportOptions) -> ImportResult:
    """Write the pairs of `files` to the new folder `out`.

    Raises LabelsError, and writes nothing, when no row holds a pair.
    """
    found = [data for path in files for data in data_files(path)]
    with new_folder(out) as folder:
        with (folder / REJECTED).open("w", encoding="utf-8") as rejected:
            reading = _RowCounts(options, rejected)
            rows = reading.rows(found)
            kept = write_rows(folder / PAIRS, rows, IMPORTED, row_group=TEXTS_AT_ONCE)
        result = reading.result(kept)
        if not kept:
            raise LabelsError(
                f"no row of {', '.join(map(str, files))} holds a preference{_why(result)}",
                "docs/exchange.md shows the formats; name one with --format, or columns of a CSV "
                "with --columns.",
            )
        summary = {"files": [str(path) for path in found], **asdict(result)}
        del summary["problems"]
        write_json(folder / SUMMARY, summary)
    return result


class _RowCounts:
    """The rows of all files, counted."""

    def __init__(self, options: ImportOptions, rejected: IO[str]) -> None:
        self.options = options
        self._rejected = rejected
        self._dropped: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._problems: list[tuple[str, str]] = []
        self._unreadable = 0
        self._ids: set[int] = set()

    def rows(self, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
        for path in files:
            kind = self.options.format
            for found in read_file(path):
                if kind == "auto" and found.row is not None:
                    # The first row that fits a format decides for its file.
                    kind = format_of(self._renamed(found.row)) or "auto"
                row = self._row(found, kind, path)
                if row is not None:
                    yield row

    def result(self, kept: int) -> ImportResult:
        rows = kept + self._dropped.total() + self._unreadable
        return ImportResult(
            rows, kept, dict(self._dropped), self._unreadable, dict(self._formats), self._problems
        )

    def _row(self, found: SourceRow, kind: str, path: Path) -> dict[str, Any] | None:
        try:
            pair = self._read(found, kind)
        except UnreadableRow as error:
            self._reject(found.where, str(error))
            return None
        except LabelsError as error:
            raise LabelsError(f"{found.where}: {error.message}", error.remedy) from None
        if isinstance(pair, UndecidedRow):
            self._dropped[pair.why] += 1
            return None
        if self.options.source is not None:
            pair = replace(pair, sources=(self.options.source,))
        row = imported_row(pair, path.name.split(".")[0])
        identity = int(row["pair_id"], 16)
        if identity in self._ids:
            self._dropped["duplicate"] += 1
            return None
        self._ids.add(identity)
        self._formats[kind] += 1
        return row

    def _read(self, found: SourceRow, kind: str) -> ImportedPair | UndecidedRow:
        if found.row is None:
            raise UnreadableRow(found.problem)
        row = self._renamed(found.row)
        if kind == "auto":
            raise UnreadableRow(f"its columns fit no format: {', '.join(map(str, row)) or 'none'}")
        pair = read_as(kind, row)
        if isinstance(pair, UndecidedRow) or self.options.prompts == "as_given":
            return pair
        change = as_messages if self.options.prompts == "chat" else as_text
        return replace(pair, prompt=change(pair.prompt))

    def _renamed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row with the user's columns under the names that formats know."""
        given = self.options.columns
        if not given:
            return row
        others = {k: v for k, v in row.items() if k not in given.values() and k not in COLUMNS}
        return {**others, **{name: row[col] for name, col in given.items() if col in row}}

    def _reject(self, where: str, reason: str) -> None:
        self._unreadable += 1
        reason = _printable(reason)
        line = json.dumps({"where": where, "reason": reason}, ensure_ascii=True)
        self._rejected.write(line + "\n")
        if len(self._problems) < SHOWN:
            self._problems.append((where, reason))


def parse_columns(text: str) -> dict[str, str]:
    """`prompt=question,a=left` as a mapping. Raises LabelsError."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    columns = {name.strip(): column.strip() for name, _, column in pairs}
    if not columns or set(columns) - set(COLUMNS) or not all(columns.values()):
        raise LabelsError(
            f"--columns {text}: give column names for {', '.join(COLUMNS)}",
            "For example --columns prompt=question,a=left,b=right,verdict=better",
        )
    return columns


def _printable(reason: str) -> str:
    """What quotes a row without what could act on a screen, or fill it."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason[:_LONGEST_REASON])
    return shown + ("…" if len(reason) > _LONGEST_REASON else "")


def _why(result: ImportResult) -> str:
    dropped = ", ".join(f"{count} {why}" for why, count in sorted(result.dropped.items()))
    problems = [f"\n  {where}: {reason}" for where, reason in result.problems]
    return (f" ({dropped})" if dropped else "") + "".join(problems)
