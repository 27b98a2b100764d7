"""A worker's folder, and which Prefect server is whose.

The folder is laid out like a campaign's: `prefect/` with the database, `logs/`, and a lock.
"""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dpo_core.atomic import write_text
from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput
from dpo_core.file_lock import Holder, hold, holder
from flows.config import check_functions, load_config
from flows.doctor.servers import PREFECT_VARIABLE, check_prefect
from flows.prefect.credentials import of_worker, read_key, with_key
from flows.run import check_folder

DEFAULT_FOLDER = Path("worker")
API_VARIABLE = PREFECT_VARIABLE


@contextmanager
def only_worker(layout: Layout) -> Iterator[None]:
    """Hold the folder: one worker at a time, or the same campaign would be started twice."""

    def refusal(other: Holder) -> BadInput:
        return BadInput(
            f"a worker runs in {layout.root} already: process {other['pid']} on {other['host']}",
            "Hand campaigns over to it with `ratchet submit`, or name another folder with --dir.",
        )

    with hold(layout.lock, refusal):
        _address(layout).unlink(missing_ok=True)  # of a worker that is gone
        yield


def in_folder(folder: Path) -> str:
    """What a command that is shown says of a worker's folder: nothing where it is the default."""
    return "" if folder == DEFAULT_FOLDER else f" --dir {shlex.quote(str(folder))}"


def tell_address(layout: Layout, api: str) -> None:
    """For `find_server`."""
    write_text(_address(layout), json.dumps({"api": api}))


def external_server() -> str | None:
    """The API of the Prefect server that the environment names."""
    return os.environ.get(API_VARIABLE) or None


def check_external_server() -> None:
    """Raise BadInput when the environment names a Prefect server that does not answer."""
    found = check_prefect(None)
    if found.severity == "problem":
        raise BadInput(
            found.what,
            f"Start it, or unset {API_VARIABLE} for the server of the worker's folder. The address "
            "ends in /api.",
        )


def find_server(folder: Path) -> str:
    """The API of the environment's Prefect server, or that of the worker that runs in `folder`,
    whose secret is put into the environment."""
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
    key = read_key(of_worker(layout))
    if key is None or not _address(layout).exists():
        raise BadInput(
            f"the worker in {folder} is still starting",
            "Try again when it has printed where runs are shown.",
        )
    os.environ.update(with_key(os.environ, key))
    return str(json.loads(_address(layout).read_text(encoding="utf-8"))["api"])


def _address(layout: Layout) -> Path:
    return layout.root / "worker.json"


def submit(config: Path, overrides: Sequence[str], campaign_dir: Path | None, folder: Path) -> None:
    """Check the campaign as `ratchet run` does, and make a run of it that a worker starts."""
    loaded = load_config(config, overrides, campaign_dir)
    check_functions(loaded)
    root = campaign_dir or default_root(loaded.name)
    check_folder(Layout(root))
    api = find_server(folder)
    from prefect.exceptions import ObjectNotFound

    from flows.campaign import CAMPAIGN_FLOW
    from flows.prefect.runs import campaign_tag, client_of
    from flows.worker.flow import DEPLOYMENT
    from flows.worker.registry import Submission, registry_of
    from flows.worker.runs import Order, refuse_second

    order = Order(str(config.resolve()), Path.cwd(), str(root.resolve()), overrides)
    with client_of(api) as client:
        try:
            deployment = client.read_deployment_by_name(f"{CAMPAIGN_FLOW}/{DEPLOYMENT}")
        except ObjectNotFound:
            raise BadInput(
                f"the Prefect server at {api} has no deployment {CAMPAIGN_FLOW}/{DEPLOYMENT}, "
                "which a worker makes when it starts",
                "Start one there, or start it again.",
            ) from None
        registry_of(client, folder).add(Submission.of("submit", order, loaded))
        refuse_second(client, Layout(root))
        run = client.create_flow_run_from_deployment(
            deployment.id,
            name=loaded.name,
            tags=[campaign_tag(Layout(root))],
            parameters=order.parameters(),
        )
    pages = api.removesuffix("/api")
    print(f"campaign {loaded.name} in {root} is handed over: {pages}/runs/flow-run/{run.id}")
