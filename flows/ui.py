"""`ratchet ui`: Prefect's web pages on the campaign's database, with the report beside them."""

import time
from pathlib import Path

from dpo_core.campaign.layout import Layout
from flows.prefect.report_address import REPORT_PATH
from flows.prefect.server import start_server
from flows.show.report import write_report
from flows.show.summary import read_summary


def serve_ui(root: Path, port: int) -> None:
    """Serve until interrupted. Raises BadInput for a folder that is no campaign or a taken port,
    and ChildDied when the server ends by itself."""
    layout = Layout(root)
    write_report(read_summary(root), layout.report)
    server, url = start_server(layout, port=port, ui=True)
    with server:
        print(
            f"runs:   {url}/runs",
            f"report: {url}{REPORT_PATH}",
            "Ctrl-C stops",
            sep="\n",
            flush=True,
        )
        while server.alive():
            time.sleep(0.5)
        raise server.died()
