"""Campaigns read back from disk to be shown side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.branching import Origin, read_origin
from dpo_core.campaign.facts import find_incumbent
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.statistics import mean_interval
from dpo_core.tables import read_rows
from dpo_core.text import visible
from flows.config import CampaignConfig, read_stored
from flows.config.versions import flatten, shared_config
from reporting.numbers import MISSING, Row
from reporting.summary import CampaignSummary, read_summary

Outcomes = Mapping[tuple[str, int], float]
"""(prompt, sample) → outcome of a policy's answer against the base's; 1: it won."""

_NOT_COMPARED = {"name", "rounds", "data_dir"}
_RESAMPLES = 2000
_CLIP = 200
"""Longer texts of a config or a name are cut: a comparison is no place to read them."""


@dataclass(frozen=True)
class Side:
    """One campaign of a comparison.

    label: its name, with its folder where several are called alike. standing: the round whose
    policy goes on, 0 for the base; `outcomes` are that policy's. test_prompts: ids of the held-out
    prompts of what is claimed. answers_by: what decides how held-out answers come about.
    """

    label: str
    summary: CampaignSummary
    settings: Mapping[str, Any]
    base: str = ""
    standing: int = 0
    origin: Origin | None = None
    test_prompts: frozenset[str] = frozenset()
    outcomes: Outcomes = field(default_factory=dict)
    answers_by: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> Row:
        """The row of the policy that goes on; empty for the base."""
        return self.row(self.standing)

    def row(self, number: int) -> Row:
        return self.summary.row(number) or {}


@dataclass(frozen=True)
class Difference:
    """How many more of the test prompts the second campaign wins against the base than the first,
    as a share, prompt by prompt. alike: with the same outcome on each."""

    first: str
    second: str
    prompts: int
    wins: Interval
    alike: bool


@dataclass(frozen=True)
class CampaignComparison:
    """settings: config key → its value in each campaign, in words, where they differ."""

    sides: tuple[Side, ...]
    settings: Mapping[str, tuple[str, ...]]
    differences: tuple[Difference, ...] = ()

    @property
    def numbers(self) -> range:
        """Of all rounds that any campaign has finished."""
        last = (int(row["round"]) for side in self.sides for row in side.summary.rounds)
        return range(1, max(last, default=0) + 1)

    def shared_rounds(self, first: Side, second: Side) -> int:
        """How many rounds from the first one on have the very same policy in both."""
        if not first.base or first.base != second.base:
            return 0
        shared = 0
        for number in self.numbers:
            one, other = first.row(number).get("policy"), second.row(number).get("policy")
            if one is None or one != other:
                break
            shared = number
        return shared


def clipped(text: str) -> str:
    """A text of a campaign, harmless and not too long."""
    return visible(text if len(text) <= _CLIP else f"{text[: _CLIP - 1]}…")


def read_comparison(roots: Sequence[Path]) -> CampaignComparison:
    """The campaigns below `roots`, read without locking them. Raises BadInput."""
    if len({root.resolve() for root in roots}) < max(len(roots), 2):
        raise BadInput(
            "a comparison needs two different campaigns at least",
            "ratchet compare CAMPAIGN OTHER [MORE …]",
        )
    summaries = [read_summary(root, samples=False) for root in roots]
    names = [summary.name for summary in summaries]
    read = zip(roots, summaries, strict=True)
    return compared([_side(root, summary, names.count(summary.name) > 1) for root, summary in read])


def compared(sides: Sequence[Side]) -> CampaignComparison:
    first, *others = sides
    found = (_difference(one, other) for one, other in combinations([first, *others], 2))
    return CampaignComparison(
        tuple(sides),
        _differing([side.settings for side in sides]),
        tuple(difference for difference in found if difference is not None),
    )


def _side(root: Path, summary: CampaignSummary, alike: bool) -> Side:
    layout = Layout(root)
    config = read_stored(layout)
    standing = find_incumbent(layout, max((int(row["round"]) for row in summary.rounds), default=0))
    base = current_artifact(layout, 0, "base")
    return Side(
        label=clipped(f"{summary.name} ({root})" if alike else summary.name),
        summary=summary,
        settings=_settings(config),
        base=base.entry.facts["policy"] if base is not None else "",
        standing=standing,
        origin=read_origin(layout),
        test_prompts=frozenset(_test_prompts(layout)),
        outcomes=dict(_outcomes(layout, standing)),
        answers_by=_answers_by(config),
    )


def _answers_by(config: CampaignConfig) -> Mapping[str, Any]:
    found = shared_config(config)
    return {name: found[name] for name in ("sampling", "evaluation", "evaluation_judge")}


def _test_prompts(layout: Layout) -> Iterator[str]:
    made = current_artifact(layout, 0, "held_out")
    if made is not None:
        for row in read_rows(made.path("prompts.parquet"), ["prompt_id", "split"]):
            if row["split"] == "test":
                yield row["prompt_id"]


def _outcomes(layout: Layout, number: int) -> Iterator[tuple[tuple[str, int], float]]:
    made = current_artifact(layout, number, "evaluation")
    if made is not None:
        for row in read_rows(made.path("outcomes.parquet")):
            if (row["opponent"], row["split"]) == ("base", "test") and row["outcome"] is not None:
                yield (row["prompt_id"], row["sample_index"]), row["outcome"]


def _difference(first: Side, second: Side) -> Difference | None:
    """None where the two were not compared with one base on the same prompts by the same judge."""
    alike = first.base == second.base and first.answers_by == second.answers_by
    both = sorted(first.outcomes.keys() & second.outcomes.keys())
    if not alike or not both:
        return None
    gained = [second.outcomes[key] - first.outcomes[key] for key in both]
    prompts = [prompt for prompt, _ in both]
    wins = mean_interval(gained, groups=prompts, resamples=_RESAMPLES)
    return Difference(first.label, second.label, len(set(prompts)), wins, not any(gained))


def _settings(config: CampaignConfig) -> dict[str, str]:
    """key → its value in words."""
    found = flatten(config.model_dump(mode="json", exclude=_NOT_COMPARED))
    return {clipped(key): MISSING if value is None else str(value) for key, value in found}


def _differing(settings: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for each in settings for key in each)
    values = {key: tuple(each.get(key, MISSING) for each in settings) for key in keys}
    differing = {key: found for key, found in values.items() if len(set(found)) > 1}
    return {key: tuple(map(clipped, found)) for key, found in differing.items()}
