"""`ratchet worker`: a Prefect server, and the loop that runs submitted campaigns."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.server_keys import (
    Key,
    serve_reports_in,
    sign_in_help,
    sign_in_link,
    with_key,
    worker_key_path,
)
from flows.prefect.server import (
    Pages,
    prefect_environment,
    start_server,
    vital,
    write_logging_config,
)
from flows.worker.folder import (
    API_VARIABLE,
    check_external_server,
    external_server,
    folder_option,
    hold_folder,
    write_address,
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
    console: tuple[Path, ...] | None = None,
) -> None:
    """Run until interrupted. console: folders of campaigns that its home page shows, if it has one.

    Raises BadInput for a folder or port in use, ServerFailed if the server does not start.
    """
    if console is not None and external_server() is not None:
        raise BadInput(
            f"{API_VARIABLE} names a Prefect server, and the console is served by one of its own",
            "Unset it; or use that server with `ratchet worker`, and type `ratchet ui`.",
        )
    layout = Layout(folder)
    link = sign_in_help(f"ratchet link{folder_option(folder)}", worker_key_path(layout))
    pages = Pages(trusted, link, console)
    with hold_folder(layout), serving(layout, port, pages) as (api, key):
        from flows.prefect.runs import own_server
        from flows.worker.label_server import LabelServers
        from flows.worker.loop import CampaignWorker

        worker = CampaignWorker(layout, api, at_once, allow_env)
        with own_server(api), LabelServers() as labels, worker:
            if console is not None:
                worker.prepare = labels.provide_for
                labels.provide_waiting(console)
            write_address(layout, api)
            print(
                *(_addresses(api, key) if console is None else _console_address(key)),
                f"submit a campaign: ratchet submit CONFIG{folder_option(folder)}",
                "Ctrl-C stops; submitted campaigns continue at the next start",
                sep="\n",
                flush=True,
            )
            while True:
                _look(worker)
                time.sleep(_TICK_S)


def _addresses(api: str, key: Key | None) -> Iterator[str]:
    """The address of the runs and, on the worker's own server, a link to sign in."""
    yield f"runs: {api.removesuffix('/api')}/runs"
    if key is not None:
        yield f"sign in there: {sign_in_link(key)} (works once)"


def _console_address(key: Key | None) -> Iterator[str]:
    """The one address of `ratchet up`, whose server is always its own."""
    assert key is not None
    yield f"Ratchet: {sign_in_link(key)}"
    yield f"(signs one browser in, once; then {key.url})"


def _look(worker: "CampaignWorker") -> None:
    """One pass of the loop. Tolerates an unreachable server and runs deleted meanwhile."""
    import httpx
    from prefect.exceptions import ObjectNotFound

    try:
        with suppress(ObjectNotFound):
            worker.look()
    except httpx.HTTPError as error:
        print(f"Prefect did not answer; retrying in {_PATIENCE_S:.0f} s: {error}", flush=True)
        time.sleep(_PATIENCE_S)


@contextmanager
def serving(
    layout: Layout, port: int | None = None, pages: Pages | None = None
) -> Iterator[tuple[str, Key | None]]:
    """(API, key) of a Prefect server: the environment's without a key, or else a new one.

    The death of the new one ends this process.
    """
    os.environ.update(prefect_environment(layout))
    write_logging_config(layout)
    external = external_server()
    if external is not None:
        check_external_server()
        yield external, None
        return
    server, url, key = start_server(layout, worker_key_path(layout), port=port, pages=pages)
    with server, vital(server):
        os.environ.update(with_key(os.environ, key))
        os.environ[API_VARIABLE] = f"{url}/api"
        serve_reports_in(layout.root)
        yield f"{url}/api", key
