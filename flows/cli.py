"""The command `ratchet`. Each command imports the heavy modules it needs."""

import errno
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dpo_core.errors import BadInput, RatchetError, WaitingForPeople
from flows.commands.change import branch, decide, replay, rollback
from flows.commands.exchange import export, import_, publish
from flows.commands.inspect import compare, doctor, evaluate, status
from flows.commands.labels import label, labels
from flows.commands.options import (
    AllowHost,
    CampaignDir,
    Config,
    Overrides,
    Port,
    StoredCampaign,
    check_hosts,
    interruptible,
)
from flows.commands.worker import cancel, pause, resume, schedule, submit, up, worker
from flows.operations.start_folder import CONFIG, list_recipes, start_folder
from flows.worker.folder import DEFAULT_FOLDER

app = typer.Typer(
    name="ratchet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from dpo_core.campaign.identity import VERSION

        print(f"ratchet {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show Ratchet's version and exit.",
        ),
    ] = False,
) -> None:
    """Iterative online DPO: sample, judge, train with the reference reset, evaluate, promote.

    A campaign is a folder. `ratchet init` writes a first config, `ratchet run` creates and resumes
    a campaign; other commands read or steer it.

    Exit codes: 0 finished, 1 failed, 2 bad input, 75 waiting for people, 130 interrupted.
    """


@app.command()
def run(
    config: Config,
    overrides: Overrides = None,
    campaign_dir: CampaignDir = None,
    prefect: Annotated[bool, typer.Option(help="Run as Prefect flows, or as plain Python.")] = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for labels from people instead of exiting.")
    ] = False,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Recompute steps that an older version of Ratchet finished, instead of keeping "
            "them.",
        ),
    ] = False,
    cache: Annotated[
        bool, typer.Option(help="Take the base policy from the user's cache, or make it.")
    ] = True,
) -> None:
    """Run or resume a campaign; finished steps are taken from disk.

    Stop with Ctrl-C at any time, and type the same command again to continue. A changed config
    re-runs exactly what depends on the change. If people must label, the command prints where and
    exits with code 75; type it again when they are done.
    """
    from dpo_core.campaign.layout import default_root
    from dpo_core.full_disk import name_disk_errors
    from flows.config import load_config
    from flows.run import run_campaign
    from flows.tracking.background import update_trackers

    console = Console(stderr=False, soft_wrap=False)
    with interruptible():
        loaded = load_config(config, overrides or [], campaign_dir)
        root = campaign_dir or default_root(loaded.name)
        with name_disk_errors(root):
            run_campaign(
                loaded,
                root,
                console,
                with_prefect=prefect,
                wait=wait,
                recompute=recompute,
                reuse_base=cache,
            )
            _write_report_and_table(root, console)
            update_trackers(root, lambda line: console.print(line, markup=False, soft_wrap=True))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="New or other folder.")] = Path(),
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Config of a recipe: {', '.join(list_recipes())}."),
    ] = None,
) -> None:
    """Write a first campaign: config, example prompts, a judge with its test, and what to do next.

    With --recipe, write that recipe's config alone. Nothing is overwritten.
    """
    for path in start_folder(folder, recipe):
        print(path)
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))}; "
    print(f"next: {there}ratchet doctor {CONFIG}")


app.command()(status)


@app.command()
def report(
    campaign: StoredCampaign,
    output: Annotated[
        Path | None, typer.Option(help="File to write; default: report.html in the campaign.")
    ] = None,
) -> None:
    """Write the campaign's report: one HTML page that works offline."""
    from dpo_core.campaign.layout import Layout
    from reporting.report import write_report
    from reporting.summary import read_summary

    path = output or Layout(campaign).report
    write_report(read_summary(campaign), path)
    print(path)


@app.command()
def ui(
    campaign: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a campaign; without one, the console of all campaigns here.",
            metavar="[CAMPAIGN]",
        ),
    ] = None,
    port: Port = 4200,
    allow_host: AllowHost = None,
) -> None:
    """Serve the console, or a campaign's Prefect pages and report, in the browser.

    Also works while campaigns run. The printed link signs one browser in. Ctrl-C stops it. To start
    and steer campaigns from the console, use `ratchet up`.
    """
    from flows.operations.serve import serve_console, serve_ui

    with interruptible(resumable=False):
        if campaign is None:
            serve_console(port, check_hosts(allow_host))
        else:
            serve_ui(campaign, port, check_hosts(allow_host))


@app.command()
def link(
    folder: Annotated[
        Path, typer.Argument(help="Folder of the worker or of the served campaign.")
    ] = DEFAULT_FOLDER,
) -> None:
    """Print a link that signs another browser in.

    For the pages of `ratchet worker` or `ratchet ui`.
    """
    from flows.operations.serve import new_link

    print(new_link(folder))


for command in (up, doctor, worker, submit, pause, resume, cancel, decide, schedule):
    app.command()(command)
app.add_typer(label)
app.command()(export)
app.command("import")(import_)
app.add_typer(labels)
for later in (publish, branch, compare, evaluate, replay, rollback):
    app.command()(later)


def main() -> None:
    """Entry point: print every deliberate error as one message, and exit with its code."""
    try:
        app(prog_name="ratchet")
    except WaitingForPeople as waiting:
        again = shlex.join(["ratchet", *sys.argv[1:]])
        print(f"{waiting.message}; then type: {again}")
        sys.exit(waiting.exit_code)
    except RatchetError as error:
        print(error.shown(), file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _PATHS_THAT_CANNOT_BE:
            raise
        print(f"ratchet: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(BadInput.exit_code)


_PATHS_THAT_CANNOT_BE = {
    *(errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EROFS)
}
"""Errors of the system about a path, wherever a command first touches it."""


def _write_report_and_table(root: Path, console: Console) -> None:
    from dpo_core.campaign.layout import Layout
    from reporting.report import write_report
    from reporting.summary import read_summary
    from reporting.terminal import render_table

    summary = read_summary(root)
    write_report(summary, Layout(root).report)
    console.print(render_table(summary, whole=False), crop=False)
    console.print(f"report: {Layout(root).report}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
