"""`ratchet compare`."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    campaigns: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of two or more campaigns.", metavar="A B [C…]", show_default=False
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page that works offline."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Show campaigns, or branches of one, side by side.

    Win rates, KL, ratings, lengths and costs with their intervals, which rounds they share, and
    where their configs differ; with a warning where win rates cannot be compared.
    """
    from reporting.compare.page import write_page
    from reporting.compare.sides import read_comparison

    comparison = read_comparison(campaigns)
    if html is not None:
        write_page(comparison, html)
    if json:
        from dpo_core.text import printed_json
        from reporting.compare.as_json import as_json

        print(printed_json(as_json(comparison)))
        return
    from rich.console import Console

    from reporting.compare.terminal import render_comparison

    console = Console()
    console.print(render_comparison(comparison), crop=False)
    if html is not None:
        console.print(f"page: {html}", soft_wrap=True, highlight=False)
