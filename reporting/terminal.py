"""A campaign in a terminal: state, headline and tables, none wider than the screen."""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo_core.text import visible
from reporting.at_a_glance import at_a_glance
from reporting.cells import TableSection
from reporting.sections import first_screen, sections
from reporting.sentences import (
    cautions,
    failure_sentence,
    gate_decisions,
    headline,
    override_sentences,
    progress,
)
from reporting.summary import CampaignSummary
from reporting.verdicts import judge_campaign

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_GAP = 2
_NAME = 36
ROWS = 12
ROWS_BEGINNING, ROWS_END = 2, 6
"""Rows shown of a table that has more than ROWS."""

CAUTIONS_SHOWN = 6


def render_table(summary: CampaignSummary, *, whole: bool = True) -> "RenderableType":
    """State, headline and tables, for `rich.print`.

    whole: show all tables, not only those of the first screen.
    """
    from rich.console import Group
    from rich.text import Text

    waiting = " for people" if summary.state == "waiting" else ""
    state = f"{visible(summary.name)}: {summary.state}{waiting}, {progress(summary)}"
    top = [
        _unwrapped(state, "dim") if waiting else Text(state, style="dim"),
        Text(headline(summary), style="bold"),
    ]
    if failure := failure_sentence(summary):
        top.append(_unwrapped(f"! {failure}", "red"))
    top += [_unwrapped(f"! {sentence}", "yellow") for sentence in override_sentences(summary)]
    if summary.rounds:
        top.append(Text(f"Verdict of the last round: {judge_campaign(summary).text}."))
    top += [Text(f"{question} {answer}") for question, answer in at_a_glance(summary)]
    top += [Text(decision) for decision in gate_decisions(summary)]
    top += [Text(f"! {caution}", style="yellow") for caution in _cautions(summary)]
    top += [_unwrapped(visible(summary.stored), "dim")] if summary.stored else []
    every = sections(summary)
    columns = every if whole else first_screen(summary)
    left = len(every) - len(columns)
    command = shlex.join(("ratchet", "status", summary.directory))
    more = [Text(f"\n{left} more tables: {visible(command)}", style="dim")] if left else []
    return Group(*top, *(FoldedSection(shorten(section)) for section in columns), *more)


def _cautions(summary: CampaignSummary) -> list[str]:
    """Cautions of the last rounds; nobody reads a screen full of warnings."""
    lines = [
        f"round {row.round}: {caution}"
        for row in summary.rounds
        for caution in cautions(summary, row)
    ]
    left = len(lines) - CAUTIONS_SHOWN
    return [f"{left} earlier warnings are in the report", *lines[left:]] if left > 0 else lines


def shorten(section: TableSection) -> TableSection:
    """The beginning and the end of a long table."""
    if len(section.rows) <= ROWS:
        return section
    left = len(section.rows) - ROWS_BEGINNING - ROWS_END
    gap = ("⋮", *[""] * (len(section.header) - 1))
    rows = (*section.rows[:ROWS_BEGINNING], gap, *section.rows[-ROWS_END:])
    return replace(section, rows=rows, note=f"{section.note} · {left} more rows: ratchet report")


def _unwrapped(text: str, style: str) -> "Text":
    """Text with a URL or a command: only the terminal wraps it, so that it can be copied."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ignore")


@dataclass(frozen=True)
class FoldedSection:
    """A table that continues below itself if the terminal is too narrow for it.

    Rich would truncate the numbers instead.
    """

    section: TableSection

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> Iterator["RenderableType"]:
        from rich.text import Text

        yield Text("")
        yield Text(self.section.title, style="bold cyan")
        yield Text(self.section.note, style="dim")
        for part in split_columns(self.section, options.max_width):
            yield _table(part, options.max_width)


def split_columns(section: TableSection, width: int) -> Iterator[TableSection]:
    """Split a table by columns into tables of at most `width` characters with its first column."""
    widths = _widths(section, width)
    chosen, used = [0], widths[0]
    for index in range(1, len(widths)):
        if len(chosen) > 1 and used + _GAP + widths[index] > width:
            yield _columns(section, chosen)
            chosen, used = [0], widths[0]
        chosen.append(index)
        used += _GAP + widths[index]
    yield _columns(section, chosen)


def _widths(section: TableSection, width: int) -> list[int]:
    """Width of each column; headings wrap at spaces only if the table would be too wide."""
    cells = [max(len(row[index]) for row in section.rows) for index in range(len(section.header))]
    cells[0] = min(cells[0], _NAME)
    whole = [max(cell, len(name)) for cell, name in zip(cells, section.header, strict=True)]
    if sum(whole) + _GAP * (len(whole) - 1) <= width:
        return whole
    words = [max(len(word) for word in name.split()) for name in section.header]
    return [max(cell, word) for cell, word in zip(cells, words, strict=True)]


def _columns(section: TableSection, chosen: Iterable[int]) -> TableSection:
    order = tuple(chosen)
    rows = tuple(tuple(row[index] for index in order) for row in section.rows)
    return replace(section, header=tuple(section.header[index] for index in order), rows=rows)


def _table(section: TableSection, width: int) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    widths = _widths(section, width)
    for index, name in enumerate(section.header):
        # Without a fixed width Rich narrows the widest columns first and truncates their numbers.
        table.add_column(
            Text(name),
            justify="right" if index else "left",
            vertical="bottom",
            overflow="fold",
            width=widths[index],
        )
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
