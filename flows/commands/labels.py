"""`ratchet labels …`: what became of judgements after they were given."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import LabelsError
from flows.commands.options import AllowHost, Campaign, interruptible, names
from labeling.server import DEFAULT_FOLDER, WORKSPACE

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
    from flows.operations.retract import retract_labels

    if (annotator is None) == (judge is None):
        raise LabelsError(
            "name one source: either --annotator or --judge",
            "ratchet labels retract CAMPAIGN --annotator NAME, or --judge ID.",
        )
    source = person(annotator) if annotator is not None else str(judge)
    with interruptible(resumable=False):
        retract_labels(campaign, source, number, undo=undo, console=Console(soft_wrap=True))


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


label = typer.Typer(
    name="label",
    help="Label in the browser: an Argilla server of your own, and its annotators.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
user = typer.Typer(
    name="user", help="People who label.", no_args_is_help=True, rich_markup_mode=None
)
label.add_typer(user)

Folder = Annotated[
    Path, typer.Option("--dir", help="Folder of the server: its database and credentials.")
]


@label.command()
def serve(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 6900,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Anything but a loopback address opens the server to "
            "others, without encryption, and is refused while somebody has a default password."
        ),
    ] = "127.0.0.1",
    allow_host: AllowHost = None,
) -> None:
    """Serve Argilla, with its web pages, on SQLite in one process.

    The first time on a machine it makes an environment for argilla-server, which takes about a
    minute. Ctrl-C stops it; the folder keeps everything.
    """
    from flows.operations.serve import serve_labels

    with interruptible(resumable=False):
        serve_labels(folder, port, host, names(allow_host))


@user.command()
def add(
    name: Annotated[str, typer.Argument(help="Name to sign in with.", show_default=False)],
    folder: Folder = DEFAULT_FOLDER,
    workspace: Annotated[
        str, typer.Option(help="Workspace whose datasets the annotator sees.")
    ] = WORKSPACE,
) -> None:
    """Make an annotator, and print the random password once.

    The server must be running: that of --dir, or the one that ARGILLA_API_URL and ARGILLA_API_KEY
    name.
    """
    from labeling.server import add_user, find_access

    access = find_access(folder)
    password = add_user(access, name, workspace)
    print(f"{access.url}", f"user:     {name}", f"password: {password}", sep="\n")
    print("The password is kept nowhere: hand it over now.")
