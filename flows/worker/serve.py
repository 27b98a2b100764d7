"""`ratchet worker`: a Prefect server and the loop that runs what is handed over."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.campaign.layout import Layout
from flows.prefect.credentials import (
    Key,
    ask_for_link,
    of_worker,
    serve_reports_in,
    sign_in_link,
    with_key,
)
from flows.prefect.server import (
    Pages,
    prefect_environment,
    start_server,
    vital,
    write_logging_config,
)
from flows.worker.place import (
    API_VARIABLE,
    check_external_server,
    external_server,
    in_folder,
    only_worker,
    tell_address,
)

if TYPE_CHECKING:
    from flows.worker.loop import CampaignWorker

_TICK_S = 1.0
_PATIENCE_S = 10.0


def serve_campaigns(
    folder: Path,
    port: int,
    at_once: int,
    trusted: Sequence[str] = (),
    allow_env: Sequence[str] = (),
) -> None:
    """Work until interrupted. Raises BadInput for a taken folder or port, and ServerFailed
    when the server does not start."""
    layout = Layout(folder)
    pages = Pages(trusted, ask_for_link(f"ratchet link{in_folder(folder)}", of_worker(layout)))
    with only_worker(layout), serving(layout, port, pages) as (api, key):
        from flows.prefect.runs import own_server
        from flows.worker.loop import CampaignWorker

        with own_server(api), CampaignWorker(layout, api, at_once, allow_env) as worker:
            tell_address(layout, api)
            print(
                *_addresses(api, key),
                f"hand a campaign over: ratchet submit CONFIG{in_folder(folder)}",
                "Ctrl-C stops; what was handed over goes on at the next start",
                sep="\n",
                flush=True,
            )
            while True:
                _look(worker)
                time.sleep(_TICK_S)


def _addresses(api: str, key: Key | None) -> Iterator[str]:
    """Where runs are shown, and on a server of the worker's own how a browser gets in."""
    yield f"runs: {api.removesuffix('/api')}/runs"
    if key is not None:
        yield f"sign in there: {sign_in_link(key, '/runs')} (works once)"


def _look(worker: "CampaignWorker") -> None:
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
def serving(
    layout: Layout, port: int | None = None, pages: Pages | None = None
) -> Iterator[tuple[str, Key | None]]:
    """The API of the user's server, or of one of our own, without which this process ends, with
    what opens that."""
    os.environ.update(prefect_environment(layout))
    write_logging_config(layout)
    external = external_server()
    if external is not None:
        check_external_server()
        yield external, None
        return
    server, url, key = start_server(layout, of_worker(layout), port=port, pages=pages)
    with server, vital(server):
        os.environ.update(with_key(os.environ, key))
        os.environ[API_VARIABLE] = f"{url}/api"
        serve_reports_in(layout.root)
        yield f"{url}/api", key
