"""`ratchet label …`: Argilla at hand."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.interrupts import interruptible
from flows.commands.options import AllowHost, names
from labeling.server import DEFAULT_FOLDER, WORKSPACE

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
