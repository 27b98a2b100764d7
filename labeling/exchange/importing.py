"""Import third-party preference files as a folder of pairs, row by row; list unreadable rows."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Literal

from dpo_core.atomic import write_json
from dpo_core.errors import LabelsError
from dpo_core.install_hint import page
from dpo_core.records import ImportedRow
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
"""Most unreadable rows that are reported on screen."""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class ImportOptions:
    """How files are imported.

    format: of all files, or `auto`. columns: prompt, a, b and verdict → column name in a CSV.
    prompts: `chat` turns plain prompts into one user message, `plain` single user messages into
    text.
    """

    format: str = "auto"
    source: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    prompts: Literal["as_given", "chat", "plain"] = "as_given"


@dataclass(frozen=True)
class ImportResult:
    """Counts of an import; problems: (place, reason) of the first SHOWN unreadable rows."""

    rows: int
    kept: int
    dropped: Mapping[str, int]
    unreadable: int
    formats: Mapping[str, int]
    problems: Sequence[tuple[str, str]] = ()


def import_files(files: Sequence[Path], out: Path, options: ImportOptions) -> ImportResult:
    """Write the pairs of `files` to the new folder `out`.

    Raises LabelsError, and writes nothing, when no row holds a preference.
    """
    sources = [data for path in files for data in data_files(path)]
    with new_folder(out) as folder:
        with (folder / REJECTED).open("w", encoding="utf-8") as rejected:
            reading = _RowCounts(options, rejected)
            rows = reading.rows(sources)
            kept = write_rows(folder / PAIRS, rows, IMPORTED, row_group=TEXTS_AT_ONCE)
        result = reading.result(kept)
        if not kept:
            raise LabelsError(
                f"no row of {', '.join(map(str, files))} holds a preference{_why(result)}",
                f"See {page('exchange.md')} for the formats; set one with --format, or the columns "
                "of a CSV with --columns.",
            )
        summary = {"files": [str(path) for path in sources], **asdict(result)}
        del summary["problems"]
        write_json(folder / SUMMARY, summary)
    return result


class _RowCounts:
    """Reads the rows of all files, and counts them."""

    def __init__(self, options: ImportOptions, rejected: IO[str]) -> None:
        self.options = options
        self._rejected = rejected
        self._dropped: Counter[str] = Counter()
        self._formats: Counter[str] = Counter()
        self._problems: list[tuple[str, str]] = []
        self._unreadable = 0
        self._ids: set[int] = set()

    def rows(self, files: Sequence[Path]) -> Iterator[ImportedRow]:
        for path in files:
            kind = self.options.format
            for source in read_file(path):
                if kind == "auto" and source.row is not None:
                    # The first row that fits a format decides the format of its file.
                    kind = format_of(self._rename(source.row)) or "auto"
                row = self._row(source, kind, path)
                if row is not None:
                    yield row

    def result(self, kept: int) -> ImportResult:
        rows = kept + self._dropped.total() + self._unreadable
        return ImportResult(
            rows, kept, dict(self._dropped), self._unreadable, dict(self._formats), self._problems
        )

    def _row(self, source: SourceRow, kind: str, path: Path) -> ImportedRow | None:
        try:
            pair = self._read(source, kind)
        except UnreadableRow as error:
            self._reject(source.where, str(error))
            return None
        except LabelsError as error:
            raise LabelsError(f"{source.where}: {error.message}", error.remedy) from None
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

    def _read(self, source: SourceRow, kind: str) -> ImportedPair | UndecidedRow:
        if source.row is None:
            raise UnreadableRow(source.problem)
        row = self._rename(source.row)
        if kind == "auto":
            raise UnreadableRow(f"its columns fit no format: {', '.join(map(str, row)) or 'none'}")
        pair = read_as(kind, row)
        if isinstance(pair, UndecidedRow) or self.options.prompts == "as_given":
            return pair
        convert = as_messages if self.options.prompts == "chat" else as_text
        return replace(pair, prompt=convert(pair.prompt))

    def _rename(self, row: Mapping[str, object]) -> Mapping[str, object]:
        """The row with the user's columns renamed to those of the formats."""
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
    """`prompt=question,a=left` as a mapping. Raises LabelsError for anything else."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    columns = {name.strip(): column.strip() for name, _, column in pairs}
    if not columns or set(columns) - set(COLUMNS) or not all(columns.values()):
        raise LabelsError(
            f"--columns {text} must name columns for {', '.join(COLUMNS)}",
            "For example --columns prompt=question,a=left,b=right,verdict=better",
        )
    return columns


def _printable(reason: str) -> str:
    """`reason` in printable characters, cut at _LONGEST_REASON."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason[:_LONGEST_REASON])
    return printable + ("…" if len(reason) > _LONGEST_REASON else "")


def _why(result: ImportResult) -> str:
    dropped = ", ".join(f"{count} {why}" for why, count in sorted(result.dropped.items()))
    problems = [f"\n  {where}: {reason}" for where, reason in result.problems]
    return (f" ({dropped})" if dropped else "") + "".join(problems)
