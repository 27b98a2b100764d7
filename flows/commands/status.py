"""`ratchet status`: a campaign's numbers, once, as JSON, or as they come."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput
from flows.commands.options import Campaign


def status(
    campaign: Campaign,
    json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON: docs/status-json.md.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show them as they come, until the campaign ends or Ctrl-C; into a pipe, what "
            "changes, line by line.",
        ),
    ] = False,
) -> None:
    """Show a campaign's rounds as a table.

    Is each round better, at what distance, at what cost; readable while the campaign runs.
    """
    from reporting.as_json import as_json, written
    from reporting.summary import read_summary
    from reporting.terminal import render_table

    if json and watch:
        raise BadInput(
            "--json prints once, and --watch goes on",
            "Leave one of them out; a program may ask for --json again and again.",
        )
    if watch:
        _watch(campaign)
        return
    summary = read_summary(campaign, samples=False)
    if json:
        print(written(as_json(summary)))
    else:
        Console().print(render_table(summary), crop=False)


def _watch(campaign: Path) -> None:
    from flows.commands.interrupts import interruptible
    from reporting.watch import watch

    with interruptible(resumable=False):
        watch(campaign, Console())
