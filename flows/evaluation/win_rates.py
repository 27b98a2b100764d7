"""Win rates of the round's policy, overall and by slice."""

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
"""Replaced in reasons, so that those which differ only in a length are the same."""

COMPARED = {
    "previous": ("previous", "test"),
    "base": ("base", "test"),
    "gate": ("previous", "gate"),
}
"""Win rate → (opponent, split)."""


def measure_win_rates(rows: Rows, config: EvaluationConfig) -> dict[str, Any]:
    """Win rates from rows of OUTCOMES, and the number of prompts behind them."""
    compare = Comparison(config)
    decided = {name: _find_decided(rows, *which) for name, which in COMPARED.items()}
    numbers: dict[str, Any] = {
        "decided": {n: _count_decided(rows, which) for n, which in COMPARED.items()}
    }
    for name, comparisons in decided.items():
        numbers |= compare.win_rate(f"win_rate_{name}", comparisons)
        numbers |= compare.length_controlled(f"lc_win_rate_{name}", comparisons)
    for split, name in (("gate", "gate"), ("test", "previous")):
        numbers[f"{split}_prompts"] = len({r["prompt_id"] for r in decided[name]})
    return numbers


def measure_gate_against_base(
    rows: Rows, config: EvaluationConfig, *, length_controlled: bool
) -> dict[str, Any]:
    """Win rate against the base on gate prompts, from rows of OUTCOMES."""
    comparisons, compare = _find_decided(rows, "base", "gate"), Comparison(config)
    numbers = compare.win_rate("win_rate_gate_base", comparisons)
    if length_controlled:
        numbers |= compare.length_controlled("lc_win_rate_gate_base", comparisons)
    return numbers


def _find_decided(rows: Rows, *which: str) -> Rows:
    """Decided comparisons with (opponent, split)."""
    return [r for r in rows if (r["opponent"], r["split"]) == which and r["outcome"] is not None]


def _count_decided(rows: Rows, which: tuple[str, str]) -> dict[str, Any]:
    """Comparisons in all and decided, answers that alone could not be judged, and the most frequent
    reasons for undecided ones."""
    compared = [row for row in rows if (row["opponent"], row["split"]) == which]
    undecided = [row for row in compared if row["outcome"] is None]
    why = Counter(_NUMBER.sub("…", row["reason"] or "no reason given") for row in undecided)
    return {
        "comparisons": len(compared),
        "decided": len(compared) - len(undecided),
        "unjudged": sum(row["unjudged"] == "policy" for row in compared),
        "unjudged_opponent": sum(row["unjudged"] == "opponent" for row in compared),
        "why": dict(why.most_common(_REASONS)),
    }


TAGS = "tags"
"""Field of a prompt that makes slices without being configured."""

FEWEST_PROMPTS = 5
"""Smaller slices are left out, so a field that differs in each prompt makes none."""

_RESAMPLES = 2_000


def measure_slices(rows: Rows, ours: HeldOutAnswers, config: HeldOutConfig) -> dict[str, Any]:
    """Slices of the win rate against the incumbent on test prompts, from rows of OUTCOMES."""
    prompts = [c.prompt for c in ours.test()]
    return slice_by_tag(_find_decided(rows, "previous", "test"), prompts, config)


def slice_by_tag(rows: Rows, prompts: Iterable[Prompt], config: HeldOutConfig) -> dict[str, Any]:
    """field=value → prompts, win rate with its interval, p adjusted over all slices, and whether it
    is flagged as worse; see dpo_core.evaluation.slices.

    rows: prompt_id and outcome of decided comparisons. Slices of fewer than FEWEST_PROMPTS prompts
    are left out before the adjustment.
    """
    fields = list(dict.fromkeys([TAGS, *config.slices]))
    tags = {prompt.prompt_id: tuple(_tags(prompt, fields)) for prompt in prompts}
    members: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for tag in tags[row["prompt_id"]]:
            members[tag].add(row["prompt_id"])
    if not members:
        return {}
    win_rates = slice_win_rates(
        (
            (tag, row["outcome"], row["prompt_id"])
            for row in rows
            for tag in tags[row["prompt_id"]]
            if len(members[tag]) >= FEWEST_PROMPTS
        ),
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
    )
    return {name: asdict(rate) for name, rate in win_rates.items()}


def slice_warnings(slices: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each slice that is worse."""
    for name, found in slices.items():
        if found["flagged"]:
            low, high = 100 * found["low"], 100 * found["high"]
            yield (
                f"slice {name}",
                f"Worse on {name}: win rate vs. the previous policy "
                f"{100 * found['win_rate']:.0f}% ({low:.0f}–{high:.0f}) on {found['prompts']} "
                f"prompts (adjusted p {found['p_adjusted']:.2g} among {len(slices)} slices).",
            )


def _tags(prompt: Prompt, fields: Sequence[str]) -> Iterator[str]:
    """field=value of each field of the prompt's row; of a list, each value once."""
    for field in fields:
        value = prompt.extra.get(field)
        values = value if isinstance(value, list) else [value]
        yield from dict.fromkeys(f"{field}={v}" for v in values if v is not None and v != "")
