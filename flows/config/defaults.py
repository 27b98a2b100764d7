"""What a campaign's config says where it says nothing: the defaults of its day.

Defaults may change, and a campaign keeps those that it was made with. VERSION is what new campaigns
get. EARLIER_DEFAULTS: version → key → what it was under that version, for keys whose default has
changed since, those that did not exist among them.
"""

from collections.abc import Mapping
from typing import Any

VERSION = 2

EARLIER_DEFAULTS: Mapping[int, Mapping[str, Any]] = {
    1: {
        "gate.decided_share": None,
        "gate.kl_budget": None,
        "gate.length": None,
        "gate.length_base": None,
        "gate.truncated_rise": None,
        "gate.empty_share": None,
        "gate.repetition_rise": None,
    },
}
