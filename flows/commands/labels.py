"""`ratchet labels …`: what became of judgements after they were given."""

from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import LabelsError
from flows.commands.interrupts import interruptible
from flows.commands.options import Campaign

labels = typer.Typer(
    name="labels",
    help="Labels of a campaign: let late ones in, take those of a source back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@labels.command()
def retract(
    campaign: Campaign,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Person whose labels are taken back.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="ID", help="Judge whose verdicts are taken back.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="N", help="Only in this round; else in all, also later."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let them count again.")] = False,
) -> None:
    """Take a source's judgements back: they count in no preference any more.

    Lists the rounds that used them and aggregates these anew; `ratchet run` then trains again what
    depends on it. Nothing is deleted, the ledger shows who took what back, and --undo brings
    everything back. The pairs stay as they were chosen, held-out answers as they were judged.
    """
    from dpo_core.records import person
    from flows.operations.retract import take_back

    if (annotator is None) == (judge is None):
        raise LabelsError(
            "name one source: either --annotator or --judge",
            "ratchet labels retract CAMPAIGN --annotator NAME, or --judge ID.",
        )
    source = person(annotator) if annotator is not None else str(judge)
    with interruptible(resumable=False):
        take_back(campaign, source, number, undo=undo, console=Console(soft_wrap=True))


@labels.command()
def pull(
    campaign: Campaign,
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="N", help="Only of this round; else of all."),
    ] = None,
) -> None:
    """Read answers that came after a round had its labels.

    Late and edited answers are kept beside the campaign. Where they change a round's labels, the
    next `ratchet run` makes a new version of these and re-runs exactly what depends on it.
    """
    from flows.operations.pull_labels import pull_labels

    with interruptible(resumable=False):
        pull_labels(campaign, number, Console(soft_wrap=True))
