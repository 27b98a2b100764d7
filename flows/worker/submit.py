"""`ratchet submit`: hand a campaign over to a worker."""

from collections.abc import Sequence
from pathlib import Path

from dpo_core.campaign.layout import Layout, default_root
from dpo_core.errors import BadInput
from flows.config import check_functions, load_config
from flows.config.stored import check_folder
from flows.worker.place import find_server


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
    from flows.worker.registry import Entry, registry_of
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
        registry_of(client, folder).add(Entry.of("submit", order, loaded))
        refuse_second(client, Layout(root))
        run = client.create_flow_run_from_deployment(
            deployment.id,
            name=loaded.name,
            tags=[campaign_tag(Layout(root))],
            parameters=order.parameters(),
        )
    pages = api.removesuffix("/api")
    print(f"campaign {loaded.name} in {root} is handed over: {pages}/runs/flow-run/{run.id}")
