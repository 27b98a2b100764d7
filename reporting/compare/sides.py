"""Campaigns read from disk to be compared side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.branching import Origin, read_origin
from dpo_core.campaign.facts import find_incumbent
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.errors import BadInput
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.statistics import mean_interval
from dpo_core.tables import read_rows
from dpo_core.text import visible
from dpo_core.training.results import BaseFacts
from flows.config import CampaignConfig, read_stored
from flows.config.shared import shared_config
from flows.config.versions import flatten
from reporting.number_formats import MISSING
from reporting.read.samples import SampledAnswer, read_answers, read_test_prompts
from reporting.summary import CampaignSummary, read_summary

Outcomes = Mapping[tuple[str, int], float]
"""(prompt, sample) → outcome of a policy's answer against the base's: 1 won, 0.5 tied, 0 lost."""

_NOT_COMPARED = {"name", "rounds", "data_dir"}
_RESAMPLES = 2000
_CLIP = 200
"""Most characters of a config value or a name in a comparison."""


@dataclass(frozen=True)
class Side:
    """One campaign of a comparison.

    label: its name, with its folder if several have the same name.
    incumbent: the round whose policy is current, 0 for the base; `outcomes` are that policy's.
    test_prompts: ids of the held-out test prompts; prompts: their texts; answers: the current
    policy's, by prompt.
    answer_settings: the config sections that held-out answers and their verdicts depend on.
    """

    label: str
    summary: CampaignSummary
    settings: Mapping[str, str]
    base: str = ""
    incumbent: int = 0
    origin: Origin | None = None
    test_prompts: frozenset[str] = frozenset()
    prompts: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, SampledAnswer] = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=dict)
    answer_settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def incumbent_row(self) -> RoundMetrics:
        """The metrics of the incumbent; none for the base."""
        return self.row(self.incumbent)

    def row(self, number: int) -> RoundMetrics:
        """None is known of a round that has not finished."""
        return self.summary.row(number) or RoundMetrics(round=number)


@dataclass(frozen=True)
class Difference:
    """Paired difference of two campaigns on the same test prompts.

    wins: win rate against the base, the second minus the first, as a share. alike: whether all
    outcomes are the same.
    """

    first: str
    second: str
    prompts: int
    wins: Interval
    alike: bool


@dataclass(frozen=True)
class CampaignComparison:
    """settings: config key → its value in each campaign, for keys whose values differ."""

    sides: tuple[Side, ...]
    settings: Mapping[str, tuple[str, ...]]
    differences: tuple[Difference, ...] = ()

    @property
    def numbers(self) -> range:
        """Numbers of the rounds that any campaign has finished."""
        last = (row.round for side in self.sides for row in side.summary.rounds)
        return range(1, max(last, default=0) + 1)

    def shared_rounds(self, first: Side, second: Side) -> int:
        """Number of rounds, from the first, that have the same policy in both campaigns."""
        if not first.base or first.base != second.base:
            return 0
        shared = 0
        for number in self.numbers:
            policy = first.row(number).policy
            if policy is None or policy != second.row(number).policy:
                break
            shared = number
        return shared


def clip(text: str) -> str:
    """A text of a campaign, made harmless and truncated."""
    return visible(text if len(text) <= _CLIP else f"{text[: _CLIP - 1]}…")


def read_comparison(roots: Sequence[Path]) -> CampaignComparison:
    """Read the campaigns below `roots` without locking them.

    Raises:
        BadInput: fewer than two different folders, or one that is not a campaign.
    """
    if len({root.resolve() for root in roots}) < max(len(roots), 2):
        raise BadInput(
            "a comparison needs at least two different campaigns",
            "ratchet compare CAMPAIGN OTHER [MORE …]",
        )
    summaries = [read_summary(root, samples=False) for root in roots]
    names = [summary.name for summary in summaries]
    read = zip(roots, summaries, strict=True)
    return compare_sides(
        [_side(root, summary, names.count(summary.name) > 1) for root, summary in read]
    )


def compare_sides(sides: Sequence[Side]) -> CampaignComparison:
    pairs = (_difference(first, second) for first, second in combinations(sides, 2))
    return CampaignComparison(
        tuple(sides),
        _differing([side.settings for side in sides]),
        tuple(difference for difference in pairs if difference is not None),
    )


def _side(root: Path, summary: CampaignSummary, alike: bool) -> Side:
    layout = Layout(root)
    config = read_stored(layout)
    incumbent = find_incumbent(layout, max((row.round for row in summary.rounds), default=0))
    base = current_artifact(layout, 0, "base")
    prompts = {prompt.prompt_id: prompt.shown() for prompt in read_test_prompts(layout)}
    return Side(
        label=clip(f"{summary.name} ({root})" if alike else summary.name),
        summary=summary,
        settings=_settings(config),
        base=base.facts(BaseFacts).policy if base is not None else "",
        incumbent=incumbent,
        origin=read_origin(layout),
        test_prompts=frozenset(prompts),
        prompts=prompts,
        answers=read_answers(layout, incumbent),
        outcomes=dict(_outcomes(layout, incumbent)),
        answer_settings=_answer_settings(config),
    )


def _answer_settings(config: CampaignConfig) -> Mapping[str, object]:
    sections = shared_config(config)
    return {name: sections[name] for name in ("sampling", "evaluation", "evaluation_judge")}


def _outcomes(layout: Layout, number: int) -> Iterator[tuple[tuple[str, int], float]]:
    evaluation = current_artifact(layout, number, "evaluation")
    if evaluation is not None:
        for row in read_rows(evaluation.path("outcomes.parquet")):
            if (row["opponent"], row["split"]) == ("base", "test") and row["outcome"] is not None:
                yield (row["prompt_id"], row["sample_index"]), row["outcome"]


def _difference(first: Side, second: Side) -> Difference | None:
    """None unless both have the same base and settings of held-out answers, and share prompts."""
    comparable = first.base == second.base and first.answer_settings == second.answer_settings
    one, other = _base_as_even(first, second), _base_as_even(second, first)
    shared = sorted(one.keys() & other.keys())
    if not comparable or not shared:
        return None
    gained = [other[key] - one[key] for key in shared]
    prompts = [prompt for prompt, _ in shared]
    wins = mean_interval(gained, groups=prompts, resamples=_RESAMPLES)
    return Difference(first.label, second.label, len(set(prompts)), wins, not any(gained))


def _base_as_even(side: Side, beside: Side) -> Outcomes:
    """The outcomes of a side; of the base, which ties with itself, on the prompts of the other."""
    if side.summary.rounds and not side.incumbent:
        return dict.fromkeys(beside.outcomes, 0.5)
    return side.outcomes


def _settings(config: CampaignConfig) -> dict[str, str]:
    """Config key → its value, formatted."""
    values = flatten(config.model_dump(mode="json", exclude=_NOT_COMPARED))
    return {clip(key): MISSING if value is None else str(value) for key, value in values}


def _differing(settings: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    keys = dict.fromkeys(key for campaign in settings for key in campaign)
    values = {key: tuple(campaign.get(key, MISSING) for campaign in settings) for key in keys}
    return {key: tuple(map(clip, row)) for key, row in values.items() if len(set(row)) > 1}
