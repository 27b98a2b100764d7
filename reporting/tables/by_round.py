"""Tables with one row per round."""

from collections.abc import Callable, Sequence

from reporting.cells import Shown, TableSection, cell, headings, with_interval
from reporting.numbers import Row, base_number, number
from reporting.summary import CampaignSummary

Column = tuple[str, Callable[[Row], str | None]]
"""(heading, what stands in a round's cell; None where there is nothing to say)."""


def by_round(
    title: str, note: str, summary: CampaignSummary, columns: Sequence[Column], missing: str
) -> TableSection:
    """Columns that hold nothing in any round are left out, and with them the whole table."""
    cells = [(heading, [write(row) for row in summary.rounds]) for heading, write in columns]
    some = [(heading, found) for heading, found in cells if any(one is not None for one in found)]
    if not some:
        return TableSection(title, note, (), ())
    names = [str(int(row["round"])) for row in summary.rounds]
    rows = zip(names, *(found for _, found in some), strict=True)
    written = tuple(tuple(missing if one is None else one for one in row) for row in rows)
    return TableSection(title, note, ("round", *(heading for heading, _ in some)), written)


def beside_base(title: str, note: str, summary: CampaignSummary, shown: Shown) -> TableSection:
    """The base, then each round with its intervals; what no round has is left out."""
    some = [one for one in shown if any(number(r, one[0]) is not None for r in summary.rounds)]
    if not some:
        return TableSection(title, note, (), ())
    base = {name: base_number(summary, name) for name, _, _ in some}
    rows = [("base", *(cell(base, name, write) for name, _, write in some))]
    rows += [
        (str(int(row["round"])), *(with_interval(row, name, write) for name, _, write in some))
        for row in summary.rounds
    ]
    return TableSection(title, note, ("round", *headings(some)), tuple(rows))
