"""`ratchet labels …` and `ratchet label …`: labels of a campaign, and the labelling server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import LabelsError
from flows.commands.options import AllowHost, Campaign, check_hosts, interruptible
from labeling.server import DEFAULT_FOLDER, WORKSPACE

labels = typer.Typer(
    name="labels",
    help="Pull late labels, or retract those of a source.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@labels.command()
def retract(
    campaign: Campaign,
    annotator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Person whose labels to retract.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="ID", help="Judge whose verdicts to retract.")
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="N", help="Only this round; default: all, later ones too."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the retraction.")] = False,
) -> None:
    """Retract a source's judgements: no preference uses them.

    Re-aggregates the rounds that used them; the next `ratchet run` retrains what depends on them.
    Nothing is deleted: the ledger records who retracted what, and --undo restores it. Selected
    pairs and verdicts on held-out answers do not change.
    """
    from dpo_core.records import person
    from flows.operations.retract import retract_labels

    if (annotator is None) == (judge is None):
        raise LabelsError(
            "give exactly one of --annotator and --judge",
            "Type ratchet labels retract CAMPAIGN --annotator NAME, or --judge ID.",
        )
    source = person(annotator) if annotator is not None else str(judge)
    with interruptible(resumable=False):
        retract_labels(campaign, source, number, undo=undo, console=Console(soft_wrap=True))


@labels.command()
def pull(
    campaign: Campaign,
    number: Annotated[
        int | None, typer.Option("--round", metavar="N", help="Only this round; default: all.")
    ] = None,
) -> None:
    """Pull labels that came after a round was labelled.

    Late and edited labels are stored with the campaign. If they change a round's labels, the next
    `ratchet run` re-runs exactly what depends on them.
    """
    from flows.operations.pull_labels import pull_labels

    with interruptible(resumable=False):
        pull_labels(campaign, number, Console(soft_wrap=True))


label = typer.Typer(
    name="label",
    help="Run an Argilla server and manage its annotators.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
user = typer.Typer(
    name="user", help="Manage annotators.", no_args_is_help=True, rich_markup_mode=None
)
label.add_typer(user)

Folder = Annotated[
    Path, typer.Option("--dir", help="Folder with the server's database and credentials.")
]


@label.command()
def serve(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 6900,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. A non-loopback address exposes the server without "
            "encryption, and is refused while any account has a default password."
        ),
    ] = "127.0.0.1",
    allow_host: AllowHost = None,
) -> None:
    """Run an Argilla server with its web pages, on SQLite in one process.

    The first start on a machine creates an environment for argilla-server, which takes about a
    minute. Ctrl-C stops it; its data stays in the folder.
    """
    from flows.operations.serve import serve_labels

    with interruptible(resumable=False):
        serve_labels(folder, port, host, check_hosts(allow_host))


@user.command()
def add(
    name: Annotated[str, typer.Argument(help="Sign-in name.")],
    folder: Folder = DEFAULT_FOLDER,
    workspace: Annotated[
        str, typer.Option(help="Workspace whose datasets the annotator sees.")
    ] = WORKSPACE,
) -> None:
    """Create an annotator and print a random password once.

    The server must be running: that of --dir, or the one in ARGILLA_API_URL and ARGILLA_API_KEY.
    """
    from labeling.server import add_user, find_access

    access = find_access(folder)
    password = add_user(access, name, workspace)
    print(f"{access.url}", f"user:     {name}", f"password: {password}", sep="\n")
    print("The password is not stored: pass it on now.")
