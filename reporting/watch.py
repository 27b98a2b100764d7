"""`ratchet status --watch`: follow a campaign in a terminal, or as lines into a pipe."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dpo_core.text import visible
from reporting.sentences import cautions, progress, verdict
from reporting.summary import CampaignSummary, read_summary
from reporting.terminal import render_table

POLL_S = 1.0
ENDED = ("finished", "stopped")
"""States in which nothing more will happen by itself."""


def watch(root: Path, console: Console, poll_s: float = POLL_S) -> None:
    """Show the campaign below `root` until it ends. Raises BadInput if there is none."""
    if console.is_terminal:
        _redraw(root, console, poll_s)
        return
    printed: set[str] = set()
    for summary in _changes(root, poll_s):
        for line in status_lines(summary):
            if line not in printed:
                printed.add(line)
                print(line, flush=True)


def status_lines(summary: CampaignSummary) -> Iterator[str]:
    """All lines about the campaign; `watch` prints only those that are new."""
    level = summary.settings.confidence
    for row in summary.rounds:
        # The policy id makes the line of a round that was run again a new one.
        yield f"round {row.round} ({str(row.policy)[:8]}): {verdict(row, level)}"
        for caution in cautions(summary, row):
            yield f"! round {row.round}: {caution}"
    yield f"{visible(summary.name)}: {summary.state}, {progress(summary)}"


def _redraw(root: Path, console: Console, poll_s: float) -> None:
    """Redraw one screen in place; at the end print all tables, however long they are."""
    summary = read_summary(root, samples=False)
    # Rich writes each frame over the last one at once, so the screen does not flicker.
    with Live(
        console=console, auto_refresh=False, transient=True, vertical_overflow="crop"
    ) as live:
        for summary in _changes(root, poll_s, lambda: live.update(live.renderable, refresh=True)):
            hint = Text("Ctrl-C ends this, not the campaign.", style="dim")
            live.update(Group(hint, render_table(summary, whole=False)), refresh=True)
    console.print(render_table(summary), crop=False)


def _changes(
    root: Path, poll_s: float, idle: Callable[[], None] = lambda: None
) -> Iterator[CampaignSummary]:
    """Yield the campaign now and after each change, until it ends."""
    last = None
    while True:
        summary = read_summary(root, samples=False)
        if summary != last:
            yield summary
            last = summary
        else:
            idle()
        if summary.state in ENDED:
            return
        time.sleep(poll_s)
