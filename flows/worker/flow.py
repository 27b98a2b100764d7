"""The flow that a worker runs: a campaign, whose run is Suspended while people label.

Prefect can suspend neither subflows nor runs without a deployment, so this is where it happens.
Suspended means that the process ends; the resumed run starts from the top and finished steps come
from disk.
"""

import os
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

from prefect import flow, get_run_logger, suspend_flow_run, tags
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from rich.console import Console

from dpo_core.campaign.layout import Layout
from dpo_core.errors import WaitingForPeople
from flows.campaign import CAMPAIGN_FLOW, play_campaign
from flows.config import load_config
from flows.prefect_runs import campaign_tag, crash_stale_runs
from flows.run import opened
from flows.session import Session
from flows.show.report import write_report
from flows.show.summary import read_summary
from flows.tracking.tracking import tell_trackers
from flows.worker.runs import Order, refuse_second

DEPLOYMENT = "ratchet"


@flow(name=CAMPAIGN_FLOW, persist_result=False)
def campaign(
    config: str,
    folder: str | None = None,
    campaign_dir: str | None = None,
    overrides: list[str] | None = None,
) -> None:
    """Run a campaign of iterative online DPO, or resume it.

    Args:
        config: YAML config of the campaign.
        folder: Where relative paths start, and where user functions lie; default: where the
            worker was started.
        campaign_dir: Folder of the campaign; default campaigns/<name>.
        overrides: Config keys to override, such as training.beta=0.2.
    """
    order = Order.read(
        {"config": config, "folder": folder, "campaign_dir": campaign_dir, "overrides": overrides}
    )
    os.chdir(order.folder)
    loaded = load_config(Path(order.config), order.overrides)
    layout = Layout(order.root(loaded.name))
    own = _own_run(layout, loaded.name)
    try:
        with (
            tags(campaign_tag(layout)),
            opened(loaded, layout.root, Console()) as (resolved, progress),
            Session(layout.root, resolved, progress) as session,
        ):
            crash_stale_runs(layout, but=own)
            play_campaign(session, with_prefect=True)
    except WaitingForPeople as waiting:
        _suspend(waiting.message)
    write_report(read_summary(layout.root), layout.report)
    tell_trackers(layout.root, print)


def _own_run(layout: Layout, name: str) -> UUID:
    """Name and tag this run after its campaign; its id. Raises BadInput for a second one."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None, "called within the flow"
    run = context.flow_run
    with get_client(sync_client=True) as client:
        refuse_second(client, layout, but=run.id)
        tagged = {*run.tags, campaign_tag(layout)}
        client.update_flow_run(run.id, name=name, tags=tagged)
    return run.id


def _suspend(sentence: str) -> NoReturn:
    """End this process and leave the run Suspended, for as long as people need.

    Without a key of its own, a later wait of the same run would pass for this one and not suspend.
    """
    get_run_logger().info(sentence)
    print(sentence, flush=True)
    suspend_flow_run(timeout=None, key=uuid4().hex)
    raise AssertionError("Prefect ends a suspended run by an exception")
