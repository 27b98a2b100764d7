"""`ratchet ui`: Prefect's web pages on the campaign's database, with the report beside them."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.prefect.credentials import (
    ask_for_link,
    of_campaign,
    of_worker,
    read_key,
    sign_in_link,
)
from flows.prefect.report_address import REPORT_PATH
from flows.prefect.server import Pages, start_server
from flows.show.report import write_report
from flows.show.summary import read_summary


def serve_ui(root: Path, port: int, trusted: Sequence[str] = ()) -> None:
    """Serve until interrupted. Raises BadInput for a folder that is no campaign or a taken port,
    and ChildDied when the server ends by itself."""
    layout = Layout(root)
    write_report(read_summary(root), layout.report)
    command = f"ratchet link {shlex.quote(str(root))}"
    pages = Pages(trusted, ask_for_link(command, of_campaign(layout)))
    server, url, key = start_server(layout, of_campaign(layout), port=port, pages=pages)
    with server:
        print(
            f"runs:   {url}/runs",
            f"report: {url}{REPORT_PATH}",
            f"sign in there: {sign_in_link(key, '/runs')} (works once)",
            "Ctrl-C stops",
            sep="\n",
            flush=True,
        )
        while server.alive():
            time.sleep(0.5)
        raise server.died()


def new_link(folder: Path) -> str:
    """A link to the pages of the worker in `folder`, or of the campaign there, that works once.

    Raises BadInput where neither shows pages now.
    """
    layout = Layout(folder)
    paths = (of_campaign(layout), of_worker(layout))
    key = next((found for path in paths if (found := read_key(path)) and found.url), None)
    if key is None:
        raise BadInput(
            f"no server has shown pages in {folder}",
            "Start it with `ratchet worker`, or with `ratchet ui CAMPAIGN` for one campaign; "
            "the folder is the worker's or the campaign's.",
        )
    return sign_in_link(key, "/runs")
