"""Whether people have answered what a suspended run waits for."""

import time
from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

from dpo_core.campaign.layout import Layout
from dpo_core.campaign.lock import holder
from dpo_core.errors import RatchetError
from flows.config import CampaignConfig, load_config
from flows.people import may_go_on
from flows.prefect.runs import tagged_campaign
from flows.worker.registry import Registry
from flows.worker.runs import Order
from labeling.server import DEFAULT_FOLDER

_AFTER_ERROR_S = 60.0


class People:
    """Asks for each run as often as its campaign's config says."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._due: dict[UUID, float] = {}

    def answered(self, run: FlowRun) -> bool:
        """False also when nobody can tell now, or another process runs the campaign."""
        layout = tagged_campaign(run.tags)
        if layout is None or time.monotonic() < self._due.get(run.id, 0.0):
            return False
        try:
            if not self._registry.knows(layout.root):
                raise self._registry.refusal(f"the campaign folder {layout.root}")
            config = _config(layout, Order.read(run.parameters).folder)
            self._due[run.id] = time.monotonic() + config.asked.poll_s
            return holder(layout.lock) is None and may_go_on(layout, config)
        except (RatchetError, OSError) as error:
            self._due[run.id] = time.monotonic() + _AFTER_ERROR_S
            print(f"{run.name}: {error}", flush=True)
            return False


def _config(layout: Layout, folder: Path) -> CampaignConfig:
    """The campaign's config, with the labelling server looked for where the campaign's run does."""
    config = load_config(layout.config, [])
    server = str(folder / (config.asked.server_dir or DEFAULT_FOLDER))
    asked = config.asked.model_copy(update={"server_dir": server})
    return config.model_copy(update={"people": asked})
