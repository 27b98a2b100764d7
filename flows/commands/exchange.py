"""`ratchet export` and `ratchet import`: preferences for other tools, and of others."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Campaign


class ImportFormat(StrEnum):
    auto = "auto"
    preference = "preference"
    hh = "hh"
    ultrafeedback = "ultrafeedback"
    csv = "csv"


class Export(StrEnum):
    conversational = "conversational"
    standard = "standard"


class Prompts(StrEnum):
    as_given = "as_given"
    chat = "chat"
    plain = "plain"


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files (.jsonl, .json, .csv, .tsv, also .gz; .parquet, .arrow) or folders of a "
            "dataset.",
            metavar="FILE...",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="New folder to write.", metavar="OUT_DIR", show_default=False)
    ],
    format: Annotated[
        ImportFormat, typer.Option(help="Format of all files; auto: each by its first row.")
    ] = ImportFormat.auto,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Names of a CSV's columns: prompt=…,a=…,b=…,verdict=…", show_default=False
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Who judged, for all rows; default: what a row says, or its file's name.",
            show_default=False,
        ),
    ] = None,
    prompts: Annotated[
        Prompts,
        typer.Option(
            help="chat: a plain prompt becomes a user message; plain: a lone user message becomes "
            "plain text."
        ),
    ] = Prompts.as_given,
) -> None:
    """Read preference sets of others, for the first round of a campaign.

    Rows that cannot be read are listed and the rest goes on. Formats: docs/exchange.md.
    """
    from dpo_core.text import visible
    from labeling.exchange.folder import REJECTED
    from labeling.exchange.importing import ImportOptions, import_files, parse_columns

    names = parse_columns(columns) if columns is not None else {}
    options = ImportOptions(format.value, source, names, prompts.value)
    result = import_files(files, out, options)
    dropped = ", ".join(f"{count:,} {why}" for why, count in sorted(result.dropped.items()))
    print(f"{result.rows:,} rows, {result.kept:,} kept" + (f" ({dropped})" if dropped else ""))
    if result.unreadable:
        print(f"{result.unreadable:,} could not be read, all in {out / REJECTED}:")
        for where, reason in result.problems:
            print(visible(f"  {where}: {reason}"))
        if result.unreadable > len(result.problems):
            print("  …")
    print(f"Next: ratchet run CONFIG --set data.imported={shlex.quote(str(out))}")


def export(
    campaign: Campaign,
    out: Annotated[
        Path, typer.Argument(help="New folder to write.", metavar="OUT_DIR", show_default=False)
    ],
    rounds: Annotated[
        str | None,
        typer.Option(
            "--rounds",
            "--round",
            help="Rounds, such as 2 or 1,3-5; default: all.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        Export,
        typer.Option(help="conversational: prompt and answers as messages; standard: as text."),
    ] = Export.conversational,
    licence: Annotated[
        str,
        typer.Option(
            "--licence",
            "--license",
            metavar="ID",
            help="Licence of the card, as the hub names it, such as cc-by-4.0.",
        ),
    ] = "unknown",
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO",
            help="Upload it as this dataset, private if it is new; the token is HF_TOKEN or that "
            "of `hf auth login`.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a campaign's preferences as a Hugging Face dataset with its card.

    In the format that TRL, Axolotl and LLaMA-Factory read; the card says where they are from.
    """
    from flows.operations.export import export_campaign, parse_rounds
    from labeling.exchange.markdown import check_licence

    check_licence(licence)
    chosen = parse_rounds(rounds) if rounds is not None else None
    tally = export_campaign(campaign, chosen, out, format.value, licence)
    each = ", ".join(f"{count:,} of round {n}" for n, count in sorted(tally.pairs.items()))
    print(f"{tally.pairs.total():,} preferences ({each}) in {out}; its card: {out / 'README.md'}")
    if push_to_hub is not None:
        from labeling.exchange.hub import push_folder

        print(push_folder(out, push_to_hub))


def publish(
    campaign: Campaign,
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="A new folder (./out), an fsspec URL (s3://bucket/model), or a model of the hub "
            "(NAME/MODEL; the token is HF_TOKEN or that of `hf auth login`).",
            show_default=False,
        ),
    ],
    number: Annotated[
        int | None,
        typer.Option("--round", help="Round; default: the promoted one.", show_default=False),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            "--license",
            metavar="ID",
            help="Licence of the card, as the hub names it; without it the card says that none is "
            "stated.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="How a new model of the hub is made.")
    ] = True,
    even_if_refused: Annotated[
        bool, typer.Option("--even-if-refused", help="Also a policy that the gate refused.")
    ] = False,
) -> None:
    """Copy or push a round's policy, with a model card, to a folder, a URL or the hub.

    Nothing is published unless this is typed. The card says what the policy was made of, how it was
    judged, and what the numbers do not show.
    """
    from flows.operations.publish import goes_to_hub, prepare, repeat_command
    from flows.operations.publish import publish as publish_to
    from labeling.exchange.markdown import check_licence

    if licence is not None:
        check_licence(licence)
    found = prepare(campaign, number, licence, even_if_refused=even_if_refused)
    if goes_to_hub(to):
        print(f"to the hub, as {to}; a folder would be ./{to}")
    again = repeat_command(sys.argv[1:])
    print(f"round {found.number}: {publish_to(found, to, again, private=private)}")
    if licence is None:
        print("The card states no licence: give one with --licence.")
