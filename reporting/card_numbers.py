"""The evaluation section of a model card: metrics with their intervals, as markdown."""

from collections.abc import Iterator, Mapping

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import Estimate
from dpo_core.text import visible
from flows.config import CampaignConfig
from labeling.exchange.markdown import escape, table
from reporting.number_formats import MISSING, format_estimate, format_metric

_MEASURED = (
    ("win_rate_base", "win rate vs. base"),
    ("lc_win_rate_base", "length-controlled win rate vs. base"),
    ("win_rate_previous", "win rate vs. the previous policy"),
    ("lc_win_rate_previous", "length-controlled win rate vs. the previous policy"),
    ("rating", "rating by the matches of all rounds, logits, base at 0"),
    ("kl_base_nats", "KL to the base, nats per completion"),
    ("score_mean", "mean score by the judge"),
    ("training_score_mean", "mean score by the training judge"),
    ("training_win_rate_base", "win rate vs. base by the training judge"),
    ("length_mean", "length, tokens"),
    ("truncated_share", "truncated at the length limit"),
    ("relevance", "answers that match their prompts"),
    ("base_nats_per_token", "finished answers under the base, nats per token"),
    ("repetition_share", "repetition"),
    ("refusal_share", "refusals"),
)


def evaluation(
    row: RoundMetrics, config: CampaignConfig, ratings: Mapping[int, Estimate]
) -> list[str]:
    """ratings: of all policies of the campaign."""
    rows = [
        (label + _extrapolated(row, name), _policy(row, name, ratings), _base(row, name))
        for name, label in _MEASURED
        if row.number(name) is not None
    ]
    prompts = whole(row.test_prompts)
    return [
        "## Evaluation",
        f"On {prompts} prompts that no round trained on. In brackets: "
        f"{100 * config.evaluation.confidence:g}% confidence intervals, by resampling prompts. "
        "Ties count half.",
        table(("measured", "this policy", "base"), rows),
        table(("suite", "score", "change"), _suites(row)),
        table(("slice", "prompts", "win rate"), _slices(row)),
    ]


def _policy(row: RoundMetrics, name: str, ratings: Mapping[int, Estimate]) -> str:
    rating = ratings.get(row.round) if name == "rating" else None
    if rating is None:
        return format_metric(row, name)
    return format_estimate(name, rating.estimate, rating.low, rating.high)


def _extrapolated(row: RoundMetrics, name: str) -> str:
    return " (extrapolated)" if row.number(f"{name}_extrapolated") else ""


def _suites(row: RoundMetrics) -> Iterator[tuple[str, str, str]]:
    for name, suite in sorted((row.suites or {}).items()):
        failed = " (fell)" if suite.failed else ""
        change = format_estimate("score_change", suite.change, suite.change_low, suite.change_high)
        score = format_estimate("score", suite.score, suite.low, suite.high)
        yield as_text(name), score, change + failed


def _slices(row: RoundMetrics) -> Iterator[tuple[str, str, str]]:
    for name, group in sorted((row.slices or {}).items()):
        flagged = " (worse)" if group.flagged else ""
        rate = format_estimate("win_rate", group.win_rate, group.low, group.high)
        yield as_text(name), whole(group.prompts), rate + flagged


def _base(row: RoundMetrics, name: str) -> str:
    return MISSING if name.endswith("_base") else format_metric(row, f"{name}_base")


def whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def as_text(text: str) -> str:
    return escape(visible(text))
