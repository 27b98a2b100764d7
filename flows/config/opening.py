"""Opening a campaign folder: its resolved config, and what changed since the last run."""

from typing import Any

import yaml

from dpo_core.atomic import is_unfinished, write_text
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.processor import available_threads
from flows.config.campaign import CampaignConfig
from flows.config.precision import with_precision
from flows.config.reading import dump_config
from flows.config.stored import read_stored_text
from flows.config.versions import changes, note_replaced


def check_folder(layout: Layout) -> None:
    """Refuse a folder that holds something else. Writes nothing."""
    root = layout.root
    try:
        whole = root.absolute()
        nearest = next(path for path in (whole, *whole.parents) if path.exists())
    except OSError as error:  # a name that no file system takes
        raise BadInput(
            f"{root} cannot be a folder: {error.strerror}", "Name another with --campaign-dir."
        ) from None
    if not nearest.is_dir():
        raise BadInput(f"{nearest} is a file", "Name a folder with --campaign-dir.")
    if not layout.config.exists() and root.is_dir() and any(root.iterdir()):
        known = {layout.lock.name, layout.prefect.name, "logs"}
        found = {path.name for path in root.iterdir() if not is_unfinished(path)}
        if found - known:
            raise BadInput(
                f"{root} is not empty and is not a campaign",
                "Name a new or an existing campaign's folder with --campaign-dir.",
            )


def adopt_config(layout: Layout, config: CampaignConfig) -> tuple[CampaignConfig, list[str]]:
    """Write the resolved config; (config with nothing left to this machine, what changed since the
    last run).

    The number of threads and the precision are fixed when a campaign is created: they decide the
    bits of every number. A config that changed is written as the valid one, the old one is kept
    beside it.
    """
    stored = _stored(layout)
    config = with_precision(config, stored)
    if config.threads == "auto":
        threads = stored.get("threads", available_threads())
        config = config.model_copy(update={"threads": threads})
    text = dump_config(config)
    if not stored:
        write_text(layout.config, text)
        return config, []
    old = layout.config.read_text(encoding="utf-8")
    if old == text:
        return config, []
    version = 1
    while layout.old_config(version).exists():
        version += 1
    write_text(layout.old_config(version), old)
    note_replaced(layout, version)
    write_text(layout.config, text)
    return config, changes(stored, yaml.safe_load(text))


def _stored(layout: Layout) -> dict[str, Any]:
    if not layout.config.exists():
        return {}
    return read_stored_text(layout)[1]
