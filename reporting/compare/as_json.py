"""A comparison for programs."""

from dataclasses import asdict
from typing import Any

from reporting.as_json import as_json as campaign_as_json
from reporting.compare.sentences import headline, not_comparable, shared
from reporting.compare.sides import CampaignComparison, Side


def as_json(comparison: CampaignComparison) -> dict[str, Any]:
    """What `ratchet compare --json` prints; a number that does not exist is null."""
    labels = [side.label for side in comparison.sides]
    return {
        "version": 1,
        "headline": headline(comparison),
        "comparable": not not_comparable(comparison),
        "warnings": list(not_comparable(comparison)),
        "shared": list(shared(comparison)),
        "differences": [asdict(one) for one in comparison.differences],
        "campaigns": [_side(side) for side in comparison.sides],
        "config": {
            key: dict(zip(labels, values, strict=True))
            for key, values in comparison.settings.items()
        },
    }


def _side(side: Side) -> dict[str, Any]:
    origin = side.origin
    return {
        "label": side.label,
        "goes_on_with": side.standing,
        "branch": None
        if origin is None
        else {"of": origin.name, "round": origin.round, "changes": list(origin.changes)},
        "campaign": campaign_as_json(side.summary),
    }
