"""A worker's folder, and the Prefect server that belongs to it.

The folder has the layout of a campaign's: `prefect/` with the database, `logs/`, and a lock.
"""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_core.atomic import write_text
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.file_lock import Holder, hold, holder
from dpo_core.server_keys import read_key, with_key, worker_key_path
from flows.doctor.servers import PREFECT_VARIABLE, check_prefect

DEFAULT_FOLDER = Path("worker")
API_VARIABLE = PREFECT_VARIABLE


@contextmanager
def hold_folder(layout: Layout) -> Iterator[None]:
    """Lock the folder: two workers would start the same campaign twice.

    Raises BadInput while another worker has it.
    """

    def refusal(other: Holder) -> BadInput:
        return BadInput(
            f"a worker already runs in {layout.root}: process {other['pid']} on {other['host']}",
            "Submit campaigns to it with `ratchet submit`, or name another folder with --dir.",
        )

    with hold(layout.lock, refusal):
        _address(layout).unlink(missing_ok=True)  # left by a former worker
        yield


def folder_option(folder: Path) -> str:
    """The option --dir of a command that is shown; empty for the default folder."""
    return "" if folder == DEFAULT_FOLDER else f" --dir {shlex.quote(str(folder))}"


def write_address(layout: Layout, api: str) -> None:
    """Record the address of the worker's Prefect API for `find_server`."""
    write_text(_address(layout), json.dumps({"api": api}))


def external_server() -> str | None:
    """The API of the environment's Prefect server, or None."""
    return os.environ.get(API_VARIABLE) or None


def check_external_server() -> None:
    """Raise BadInput if the environment's Prefect server does not answer."""
    finding = check_prefect(None)
    if finding.severity == "problem":
        raise BadInput(
            finding.what,
            f"Start it, or unset {API_VARIABLE} to use the server of the worker's folder. The "
            "address ends in /api.",
        )


def find_server(folder: Path) -> str:
    """The API of the environment's Prefect server, or else of the worker that runs in `folder`.

    Puts the worker's secret into the environment. Raises BadInput if there is no such server.
    """
    external = external_server()
    if external is not None:
        check_external_server()
        return external
    layout = Layout(folder)
    if holder(layout.lock) is None:
        raise BadInput(
            f"no worker runs in {folder}",
            "Start one with `ratchet worker`, or name its folder with --dir.",
        )
    key = read_key(worker_key_path(layout))
    if key is None or not _address(layout).exists():
        raise BadInput(
            f"the worker in {folder} is still starting",
            "Try again when it has printed the address of its runs.",
        )
    os.environ.update(with_key(os.environ, key))
    return str(json.loads(_address(layout).read_text(encoding="utf-8"))["api"])


def _address(layout: Layout) -> Path:
    return layout.root / "worker.json"
