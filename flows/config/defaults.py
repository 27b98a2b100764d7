"""Versions of the defaults: a campaign keeps those it was created with.

The key `defaults` names the version that supplies omitted keys. A campaign's stored config records
it; one without it was created under version 1.
"""

from collections.abc import Mapping

CHANGED: Mapping[int, Mapping[str, float | str | None]] = {
    2: {
        "gate.decided_share": None,
        "gate.kl_budget": None,
        "gate.length": None,
        "gate.length_base": None,
        "gate.truncated_rise": None,
        "gate.empty_share": None,
        "gate.repetition_rise": None,
    },
    3: {
        "training.beta": 0.1,
        "training.learning_rate": 5e-7,
        "training.warmup_steps": 0,
        "training.pairs_per_step": 32,
        "evaluation.gate_prompts": 256,
        "evaluation.test_prompts": 256,
        "evaluation.relevance": None,
        "gate.relevance_fall": None,
    },
    4: {"pairs.truncated": "drop"},
}
"""version → keys whose defaults it changed → their value before. For a key that was new in that
version: the value that switches it off."""

FIRST = 1
DEFAULTS = max(CHANGED)
"""The current version, for new campaigns."""


def earlier_defaults(version: int) -> dict[str, float | str | None]:
    """The keys that later versions changed, with their values in this one."""
    values: dict[str, float | str | None] = {}
    for later in sorted(CHANGED, reverse=True):
        if later > version:
            values |= CHANGED[later]
    return values
