"""`ratchet worker`: a Prefect server and the loop that runs what is handed over."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.campaign.layout import Layout
from flows.prefect.report_address import serve_reports_in
from flows.prefect.server import prefect_environment, start_server, vital, write_logging_config
from flows.worker.place import (
    API_VARIABLE,
    check_external_server,
    external_server,
    in_folder,
    only_worker,
    tell_address,
)

if TYPE_CHECKING:
    from flows.worker.loop import Worker

_TICK_S = 1.0
_PATIENCE_S = 10.0


def serve_campaigns(folder: Path, port: int, at_once: int) -> None:
    """Work until interrupted. Raises BadInput for a taken folder or port, and ServerFailed
    when the server does not start."""
    layout = Layout(folder)
    with only_worker(layout), serving(layout, port, ui=True) as api:
        from flows.prefect.runs import own_server
        from flows.worker.loop import Worker

        with own_server(api), Worker(layout, api, at_once) as worker:
            tell_address(layout, api)
            pages = api.removesuffix("/api")
            print(
                f"runs: {pages}/runs",
                f"hand a campaign over: ratchet submit CONFIG{in_folder(folder)}",
                "Ctrl-C stops; what was handed over goes on at the next start",
                sep="\n",
                flush=True,
            )
            while True:
                _look(worker)
                time.sleep(_TICK_S)


def _look(worker: "Worker") -> None:
    """One look; a server that does not answer now may do so at the next, and what was deleted
    while the worker looked is not there any more."""
    import httpx
    from prefect.exceptions import ObjectNotFound

    try:
        with suppress(ObjectNotFound):
            worker.look()
    except httpx.HTTPError as error:
        print(f"Prefect did not answer, asked again in {_PATIENCE_S:.0f} s: {error}", flush=True)
        time.sleep(_PATIENCE_S)


@contextmanager
def serving(layout: Layout, port: int | None = None, *, ui: bool = False) -> Iterator[str]:
    """The API of the user's server, or of one of our own, without which this process ends."""
    os.environ.update(prefect_environment(layout))
    write_logging_config(layout)
    external = external_server()
    if external is not None:
        check_external_server()
        yield external
        return
    server, url = start_server(layout, port=port, ui=ui)
    with server, vital(server):
        os.environ[API_VARIABLE] = f"{url}/api"
        serve_reports_in(layout.root)
        yield f"{url}/api"
