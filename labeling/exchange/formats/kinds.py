"""The formats by name, and detection of a row's format."""

from collections.abc import Mapping
from typing import Protocol

from labeling.exchange.formats import hh, preference, ultrafeedback, verdicts
from labeling.exchange.imported_pair import ImportedPair, UndecidedRow, UnreadableRow

Row = Mapping[str, object]


class Format(Protocol):
    """A module of this folder."""

    def fits(self, row: Row) -> bool:
        """Whether a row with these columns is in this format."""

    def read(self, row: Row) -> ImportedPair | UndecidedRow:
        """Read a row that fits. Raises UnreadableRow."""


FORMATS: dict[str, Format] = {
    "hh": hh,
    "preference": preference,
    "ultrafeedback": ultrafeedback,
    "csv": verdicts,
}
"""The first format that fits is used: a transcript is also a preference without prompt."""


def format_of(row: Row) -> str | None:
    """Name of the first format that fits `row`, or None."""
    return next((name for name, kind in FORMATS.items() if kind.fits(row)), None)


def read_as(name: str, row: Row) -> ImportedPair | UndecidedRow:
    """Read `row` in the format `name`. Raises UnreadableRow for any content it cannot read."""
    if not FORMATS[name].fits(row):
        columns = ", ".join(map(str, row)) or "none"
        raise UnreadableRow(f"not a {name} row (its columns: {columns})")
    try:
        return FORMATS[name].read(row)
    except RecursionError:
        raise UnreadableRow("nested too deeply") from None
