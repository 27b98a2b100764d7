"""`ratchet status --watch`: a campaign as it goes on, in a terminal or as lines into a pipe."""

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
"""Its state when no process runs it and nobody is waited for."""


def watch(root: Path, console: Console, poll_s: float = POLL_S) -> None:
    """Show the campaign below `root` until it ends. Raises BadInput where there is none."""
    if console.is_terminal:
        _redraw(root, console, poll_s)
        return
    told: set[str] = set()
    for summary in _changes(root, poll_s):
        for line in status_lines(summary):
            if line not in told:
                told.add(line)
                print(line, flush=True)


def status_lines(summary: CampaignSummary) -> Iterator[str]:
    """What is to be said of a campaign; what stood there before is not said again."""
    for row in summary.rounds:
        # The identity of its policy: a round that was made again is news, though it reads alike.
        yield f"round {row['round']} ({str(row.get('policy'))[:8]}): {verdict(row)}"
        for caution in cautions(summary, row):
            yield f"! round {row['round']}: {caution}"
    yield f"{visible(summary.name)}: {summary.state}, {progress(summary)}"


def _redraw(root: Path, console: Console, poll_s: float) -> None:
    """One screen that changes in place; at the end the whole table stays, however long it is."""
    summary = read_summary(root, samples=False)
    # Rich writes a frame at once over the last one, so nothing is seen of its being erased.
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
    """The campaign now, and whenever it has changed, until it ends."""
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
