"""`ratchet import`, `export` and `publish`: exchange preferences and policies with other tools."""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import StoredCampaign, licence_option


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
            help="Files (.jsonl, .json, .csv, .tsv, also .gz; .parquet, .arrow) or folders.",
            metavar="FILE...",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="New folder to write.", metavar="OUT_DIR")],
    format: Annotated[
        ImportFormat, typer.Option(help="Format of all files; auto: by each file's first row.")
    ] = ImportFormat.auto,
    columns: Annotated[
        str | None, typer.Option(help="Column names of a CSV: prompt=…,a=…,b=…,verdict=…")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Annotator or judge of all rows; default: from each row, or the file's name."
        ),
    ] = None,
    prompts: Annotated[
        Prompts,
        typer.Option(
            help="chat: turn plain prompts into user messages; plain: turn single user messages "
            "into plain text."
        ),
    ] = Prompts.as_given,
) -> None:
    """Import preference datasets, for the first round of a campaign.

    Lists rows that cannot be read, and imports the rest. Formats: docs/exchange.md.
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
    campaign: StoredCampaign,
    out: Annotated[Path, typer.Argument(help="New folder to write.", metavar="OUT_DIR")],
    rounds: Annotated[
        str | None,
        typer.Option(
            "--rounds", "--round", help="Rounds to export, such as 2 or 1,3-5; default: all."
        ),
    ] = None,
    format: Annotated[
        Export,
        typer.Option(help="conversational: prompt and answers as messages; standard: as text."),
    ] = Export.conversational,
    licence: Annotated[str, licence_option("")] = "unknown",
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="REPO",
            help="Also upload it as this dataset, created as private; the token is HF_TOKEN or "
            "that of `hf auth login`.",
        ),
    ] = None,
) -> None:
    """Export preferences as a Hugging Face dataset.

    TRL, Axolotl and LLaMA-Factory read the format. A dataset card documents their origin.
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
    campaign: StoredCampaign,
    to: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="A new folder (./out), an fsspec URL (s3://bucket/model), or a hub model "
            "(NAME/MODEL; the token is HF_TOKEN or that of `hf auth login`).",
        ),
    ],
    number: Annotated[
        int | None, typer.Option("--round", help="Round to publish; default: the promoted one.")
    ] = None,
    licence: Annotated[str | None, licence_option("; default: the card states none")] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Visibility of a new hub model.")
    ] = True,
    even_if_refused: Annotated[
        bool, typer.Option("--even-if-refused", help="Publish even a policy that the gate refused.")
    ] = False,
) -> None:
    """Publish a round's policy and its model card.

    To a folder, a URL or the hub. Ratchet publishes nothing unless you type this. The card
    documents the training, the judges and the limits of the numbers.
    """
    from flows.operations.publish import goes_to_hub, prepare, repeat_command
    from flows.operations.publish import publish as publish_to
    from labeling.exchange.markdown import check_licence

    if licence is not None:
        check_licence(licence)
    prepared = prepare(campaign, number, licence, even_if_refused=even_if_refused)
    if goes_to_hub(to):
        print(f"publishing to the hub as {to}; for a folder, give ./{to}")
    again = repeat_command(sys.argv[1:])
    print(f"round {prepared.number}: {publish_to(prepared, to, again, private=private)}")
    if licence is None:
        print("The card states no licence; add one with --licence.")
