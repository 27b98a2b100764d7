"""How often the round's policy wins."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import Comparison
from dpo_core.evaluation.slices import slice_win_rates
from dpo_core.records import Prompt
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers

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


def measure_win_rates(rows: Rows, config: EvaluationConfig) -> dict[str, Any]:
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


def measure_gate_against_base(
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


TAGS = "tags"
"""Field of a prompt's row by which slices are told without being asked for."""

FEWEST_PROMPTS = 5
"""Smaller slices say nothing; a field that is another for each prompt makes none."""

_RESAMPLES = 2_000


def measure_slices(
    rows: Sequence[Mapping[str, Any]], ours: HeldOutAnswers, config: HeldOutConfig
) -> dict[str, Any]:
    """Slices of the win rate against the previous policy on test prompts; rows: of OUTCOMES."""
    compared = [
        row
        for row in rows
        if (row["opponent"], row["split"]) == ("previous", "test") and row["outcome"] is not None
    ]
    return slice_by_tag(compared, [c.prompt for c in ours.test()], config)


def slice_by_tag(
    rows: Sequence[Mapping[str, Any]], prompts: Iterable[Prompt], config: HeldOutConfig
) -> dict[str, Any]:
    """field=value → prompts, win rate with its own interval, p_adjusted among all slices, and
    whether it is flagged as worse.

    rows: prompt_id and outcome of comparisons that were decided. Slices of fewer than
    FEWEST_PROMPTS prompts are left out before anything is adjusted; see
    dpo_core.evaluation.slices for how.
    """
    fields = list(dict.fromkeys([TAGS, *config.slices]))
    tags = {prompt.prompt_id: tuple(_tags(prompt, fields)) for prompt in prompts}
    holds: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for tag in tags[row["prompt_id"]]:
            holds[tag].add(row["prompt_id"])
    if not holds:
        return {}
    found = slice_win_rates(
        (
            (tag, row["outcome"], row["prompt_id"])
            for row in rows
            for tag in tags[row["prompt_id"]]
            if len(holds[tag]) >= FEWEST_PROMPTS
        ),
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
    )
    return {name: asdict(one) for name, one in found.items()}


def slice_warnings(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each slice that is worse."""
    for name, one in found.items():
        if one["flagged"]:
            low, high = 100 * one["low"], 100 * one["high"]
            yield (
                f"slice {name}",
                f"Worse on {name}: wins {100 * one['win_rate']:.0f} % [{low:.0f}, {high:.0f}] of "
                f"{one['prompts']} prompts against the previous policy "
                f"(p {one['p_adjusted']:.2g} among {len(found)} slices).",
            )


def _tags(prompt: Prompt, fields: Sequence[str]) -> Iterator[str]:
    """field=value of each field that the prompt's row has; of a list, each value once."""
    for field in fields:
        value = prompt.extra.get(field)
        values = value if isinstance(value, list) else [value]
        yield from dict.fromkeys(f"{field}={v}" for v in values if v is not None and v != "")
