"""Win rates within groups of prompts that share a tag."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpo_core.evaluation.slices import slice_win_rates
from dpo_core.records import Prompt
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers

TAGS = "tags"
"""Field of a prompt's row by which slices are told without being asked for."""

FEWEST_PROMPTS = 5
"""Smaller slices say nothing; a field that is another for each prompt makes none."""

_RESAMPLES = 2_000


def slices(
    rows: Sequence[Mapping[str, Any]], ours: HeldOutAnswers, config: HeldOutConfig
) -> dict[str, Any]:
    """Slices of the win rate against the previous policy on test prompts; rows: of OUTCOMES."""
    compared = [
        row
        for row in rows
        if (row["opponent"], row["split"]) == ("previous", "test") and row["outcome"] is not None
    ]
    return by_tag(compared, [c.prompt for c in ours.test()], config)


def by_tag(
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


def told(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
