"""A campaign for programs."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dpo_core.evaluation.round_metrics import COLUMNS
from flows.show.sentences import headline
from flows.show.summary import CampaignSummary


def as_json(summary: CampaignSummary) -> dict[str, Any]:
    """What `ratchet status --json` prints; a number that does not exist is null, never NaN."""
    names = [column.name for column in COLUMNS]
    return {
        "version": 1,
        "name": summary.name,
        "directory": summary.directory,
        "state": summary.state,
        "rounds_planned": summary.rounds_planned,
        "doing": summary.doing,
        "headline": headline(summary),
        "taken_back": [asdict(one) for one in summary.taken_back],
        "outdated": list(summary.outdated),
        "base": _plain(summary.base),
        "rounds": [_plain({**dict.fromkeys(names), **row}) for row in summary.rounds],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if hasattr(value, "item"):  # a scalar of numpy, as pandas hands them out
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
