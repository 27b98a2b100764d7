"""`ratchet publish`: a round's policy with its card, where the user wants it."""

import sys
from typing import Annotated

import typer

from flows.commands.options import Campaign


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
    from flows.operations.publish import again_command, goes_to_hub, prepare
    from flows.operations.publish import publish as publish_to
    from labeling.exchange.markdown import check_licence

    if licence is not None:
        check_licence(licence)
    found = prepare(campaign, number, licence, even_if_refused=even_if_refused)
    if goes_to_hub(to):
        print(f"to the hub, as {to}; a folder would be ./{to}")
    again = again_command(sys.argv[1:])
    print(f"round {found.number}: {publish_to(found, to, again, private=private)}")
    if licence is None:
        print("The card states no licence: give one with --licence.")
