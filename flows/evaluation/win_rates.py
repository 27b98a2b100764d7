"""How often the round's policy wins."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import Comparison

Rows = Sequence[Mapping[str, Any]]

_REASONS = 3
_NUMBER = re.compile(r"\d[\d,.]*")
"""Reasons that differ in numbers alone, such as lengths, are one."""

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
    numbers: dict[str, Any] = {
        "decided": {n: _decided(rows, which) for n, which in COMPARED.items()}
    }
    for name, found in decided.items():
        numbers |= compare.win_rate(f"win_rate_{name}", found)
        numbers |= compare.length_controlled(f"lc_win_rate_{name}", found)
    for split, name in (("gate", "gate"), ("test", "previous")):
        numbers[f"{split}_prompts"] = len({r["prompt_id"] for r in decided[name]})
    return numbers


def against_base(
    rows: Rows, config: EvaluationConfig, *, length_controlled: bool
) -> dict[str, Any]:
    """How the round's policy stands against the base on gate prompts, from rows of OUTCOMES."""
    which = ("base", "gate")
    found = [r for r in rows if (r["opponent"], r["split"]) == which and r["outcome"] is not None]
    compare = Comparison(config)
    numbers = compare.win_rate("win_rate_gate_base", found)
    if length_controlled:
        numbers |= compare.length_controlled("lc_win_rate_gate_base", found)
    return numbers


def _decided(rows: Rows, which: tuple[str, str]) -> dict[str, Any]:
    """How many comparisons there were and were decided, how many answers of either side alone
    could not be judged, and why the others were not decided, the most frequent reasons first."""
    found = [row for row in rows if (row["opponent"], row["split"]) == which]
    left = [row for row in found if row["outcome"] is None]
    why = Counter(_NUMBER.sub("…", row["reason"] or "no reason given") for row in left)
    return {
        "comparisons": len(found),
        "decided": len(found) - len(left),
        "unjudged": sum(row["unjudged"] == "policy" for row in found),
        "unjudged_opponent": sum(row["unjudged"] == "opponent" for row in found),
        "why": dict(why.most_common(_REASONS)),
    }
