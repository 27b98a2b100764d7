"""Win rates of the round's policy, overall and by slice."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dpo_core.campaign.round_parts import DecidedNumbers
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import Comparison, Decided
from dpo_core.evaluation.slices import Slice, slice_win_rates
from dpo_core.records import Prompt
from dpo_core.schemas import OutcomeRow
from flows.config.evaluation import HeldOutConfig
from flows.evaluation.held_out import HeldOutAnswers

Rows = Sequence[OutcomeRow]

_REASONS = 3
_NUMBER = re.compile(r"\d[\d,.]*")
"""Replaced in reasons, so that those which differ only in a length are the same."""

COMPARED = {
    "previous": ("previous", "test"),
    "base": ("base", "test"),
    "gate": ("previous", "gate"),
}
"""Win rate → (opponent, split)."""


def measure_win_rates(rows: Rows, config: EvaluationConfig) -> dict[str, float | None]:
    """Win rates, and the number of prompts behind them."""
    compare = Comparison(config)
    decided = {name: _find_decided(rows, *which) for name, which in COMPARED.items()}
    numbers: dict[str, float | None] = {}
    for name, comparisons in decided.items():
        numbers |= compare.win_rate(f"win_rate_{name}", comparisons)
        numbers |= compare.length_controlled(f"lc_win_rate_{name}", comparisons)
    for split, name in (("gate", "gate"), ("test", "previous")):
        numbers[f"{split}_prompts"] = len({row.prompt_id for row in decided[name]})
    return numbers


def measure_gate_against_base(
    rows: Rows, config: EvaluationConfig, *, length_controlled: bool
) -> dict[str, float | None]:
    """Win rate against the base on gate prompts."""
    comparisons, compare = _find_decided(rows, "base", "gate"), Comparison(config)
    numbers = compare.win_rate("win_rate_gate_base", comparisons)
    if length_controlled:
        numbers |= compare.length_controlled("lc_win_rate_gate_base", comparisons)
    return numbers


def _find_decided(rows: Rows, *which: str) -> list[Decided]:
    """Those with (opponent, split)."""
    return decided_of(row for row in rows if (row["opponent"], row["split"]) == which)


def decided_of(rows: Iterable[OutcomeRow]) -> list[Decided]:
    """Those of the comparisons that have an outcome."""
    return [
        Decided(row["prompt_id"], row["outcome"], row["length_difference"])
        for row in rows
        if row["outcome"] is not None
    ]


def count_decided(rows: Rows) -> dict[str, DecidedNumbers]:
    """Win rate → the comparisons behind it."""
    return {name: _count_decided(rows, which) for name, which in COMPARED.items()}


def _count_decided(rows: Rows, which: tuple[str, str]) -> DecidedNumbers:
    compared = [row for row in rows if (row["opponent"], row["split"]) == which]
    undecided = [row for row in compared if row["outcome"] is None]
    why = Counter(_NUMBER.sub("…", row["reason"] or "no reason given") for row in undecided)
    return DecidedNumbers(
        comparisons=len(compared),
        decided=len(compared) - len(undecided),
        unjudged=sum(row["unjudged"] == "policy" for row in compared),
        unjudged_opponent=sum(row["unjudged"] == "opponent" for row in compared),
        why=dict(why.most_common(_REASONS)),
    )


TAGS = "tags"
"""Field of a prompt that makes slices without being configured."""

FEWEST_PROMPTS = 5
"""Smaller slices are left out, so a field that differs in each prompt makes none."""

_RESAMPLES = 2_000


def measure_slices(rows: Rows, ours: HeldOutAnswers, config: HeldOutConfig) -> dict[str, Slice]:
    """Slices of the win rate against the incumbent on test prompts."""
    prompts = [c.prompt for c in ours.test()]
    return slice_by_tag(_find_decided(rows, "previous", "test"), prompts, config)


def slice_by_tag(
    rows: Sequence[Decided], prompts: Iterable[Prompt], config: HeldOutConfig
) -> dict[str, Slice]:
    """field=value → prompts, win rate with its interval, p adjusted over all slices, and whether it
    is flagged as worse; see dpo_core.evaluation.slices.

    Slices of fewer than FEWEST_PROMPTS prompts are left out before the adjustment.
    """
    fields = list(dict.fromkeys([TAGS, *config.slices]))
    tags = {prompt.prompt_id: tuple(_tags(prompt, fields)) for prompt in prompts}
    members: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for tag in tags[row.prompt_id]:
            members[tag].add(row.prompt_id)
    if not members:
        return {}
    return slice_win_rates(
        (
            (tag, row.outcome, row.prompt_id)
            for row in rows
            for tag in tags[row.prompt_id]
            if len(members[tag]) >= FEWEST_PROMPTS
        ),
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
    )


def slice_warnings(slices: Mapping[str, Slice]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each slice that is worse."""
    for name, slice_ in slices.items():
        if slice_.flagged:
            low, high = 100 * slice_.low, 100 * slice_.high
            yield (
                f"slice {name}",
                f"Worse on {name}: win rate vs. the previous policy "
                f"{slice_.win_rate:.1%} [{low:.1f}, {high:.1f}] on {slice_.prompts} "
                f"prompts (adjusted p {slice_.p_adjusted:.2g} among {len(slices)} slices).",
            )


def _tags(prompt: Prompt, fields: Sequence[str]) -> Iterator[str]:
    """field=value of each field of the prompt's row; of a list, each value once."""
    for field in fields:
        value = prompt.extra.get(field)
        values = value if isinstance(value, list) else [value]
        yield from dict.fromkeys(f"{field}={v}" for v in values if v is not None and v != "")
