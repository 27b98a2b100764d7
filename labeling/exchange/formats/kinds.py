"""The formats by name, and which of them a row is in."""

from collections.abc import Mapping
from typing import Any, Protocol

from labeling.exchange.formats import hh, preference, ultrafeedback, verdicts
from labeling.exchange.imported_pair import ImportedPair, UndecidedRow, UnreadableRow

Row = Mapping[str, Any]


class Format(Protocol):
    """A module of this folder."""

    def fits(self, row: Row) -> bool:
        """Whether a row with these columns is in this format."""

    def read(self, row: Row) -> ImportedPair | UndecidedRow:
        """What the row says. Raises UnreadableRow."""


FORMATS: dict[str, Format] = {
    "hh": hh,
    "preference": preference,
    "ultrafeedback": ultrafeedback,
    "csv": verdicts,
}
"""A transcript is also a preference without a prompt: the first that fits is taken."""


def format_of(row: Row) -> str | None:
    """Name of the format that `row` is in; None when its columns fit none."""
    return next((name for name, kind in FORMATS.items() if kind.fits(row)), None)


def read_as(name: str, row: Row) -> ImportedPair | UndecidedRow:
    """What `row` says in the format `name`. Raises UnreadableRow, whatever is in the row."""
    if not FORMATS[name].fits(row):
        raise UnreadableRow(f"no {name} row (its columns: {', '.join(map(str, row)) or 'none'})")
    try:
        return FORMATS[name].read(row)
    except RecursionError:
        raise UnreadableRow("nested too deeply") from None
