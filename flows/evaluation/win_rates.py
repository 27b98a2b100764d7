"""How often the round's policy wins."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import Comparison
from dpo_core.evaluation.length_control import length_controlled_win_rate

Rows = Sequence[Mapping[str, Any]]

_RESAMPLES = 2_000
"""A fit each; the ends of an interval hardly move with more."""

COMPARED = {
    "previous": ("previous", "test"),
    "base": ("base", "test"),
    "gate": ("previous", "gate"),
}
"""Whom and on which prompts each of the round's win rates is about."""


def win_rates(rows: Rows, config: EvaluationConfig) -> dict[str, Any]:
    """Win rates from rows of OUTCOMES, and how many prompts they rest on."""
    compare = Comparison(config)
    decided = {
        name: [r for r in rows if (r["opponent"], r["split"]) == which and r["outcome"] is not None]
        for name, which in COMPARED.items()
    }
    numbers: dict[str, Any] = {}
    for name, found in decided.items():
        numbers |= compare.win_rate(f"win_rate_{name}", found)
        numbers |= _at_equal_lengths(f"lc_win_rate_{name}", found, config)
    for split, name in (("gate", "gate"), ("test", "previous")):
        numbers[f"{split}_prompts"] = len({r["prompt_id"] for r in decided[name]})
    return numbers


def _at_equal_lengths(name: str, rows: Rows, config: EvaluationConfig) -> dict[str, Any]:
    """None for each where length cannot be told from the policy, or there is nothing to tell."""
    ends = ("", "_low", "_high")
    if not rows:
        return {f"{name}{end}": None for end in ends}
    found = length_controlled_win_rate(
        [row["outcome"] for row in rows],
        [row["length_difference"] for row in rows],
        groups=[row["prompt_id"] for row in rows],
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
    )
    values = (found.estimate, found.low, found.high)
    return {
        f"{name}{end}": value if math.isfinite(value) else None
        for end, value in zip(ends, values, strict=True)
    }
