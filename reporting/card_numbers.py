"""The evaluation section of a model card: metrics with their intervals, as markdown."""

from collections.abc import Iterator

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from flows.config import CampaignConfig
from labeling.exchange.markdown import escape, table
from reporting.numbers import MISSING

NATS, SHARE = "nats", "%"
_MEASURED = (
    ("win_rate_base", "win rate against the base", SHARE),
    ("lc_win_rate_base", "… length-controlled", SHARE),
    ("win_rate_previous", "win rate against the previous policy", SHARE),
    ("lc_win_rate_previous", "… length-controlled", SHARE),
    ("rating", "rating, base at 0", "logits"),
    ("kl_base_nats", "KL to the base, per completion", NATS),
    ("score_mean", "mean score by the judge", ""),
    ("training_score_mean", "mean score by the training judge", ""),
    ("training_win_rate_base", "win rate against the base by the training judge", SHARE),
    ("length_mean", "length", "tokens"),
    ("truncated_share", "truncated at the length limit", SHARE),
    ("relevance", "answers that match their prompts", SHARE),
    ("base_nats_per_token", "finished answers under the base, per token", NATS),
    ("repetition_share", "repetition", SHARE),
    ("refusal_share", "refusals", SHARE),
)


def evaluation(row: RoundMetrics, config: CampaignConfig) -> list[str]:
    rows = [
        (label + _extrapolated(row, name), interval(row, name, unit), _base(row, name, unit))
        for name, label, unit in _MEASURED
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


def _extrapolated(row: RoundMetrics, name: str) -> str:
    return " (extrapolated)" if row.number(f"{name}_extrapolated") else ""


def _suites(row: RoundMetrics) -> Iterator[tuple[str, str, str]]:
    for name, suite in sorted((row.suites or {}).items()):
        failed = " (fell)" if suite.failed else ""
        change = _between(suite.change, suite.change_low, suite.change_high)
        yield as_text(name), _between(suite.score, suite.low, suite.high), change + failed


def _slices(row: RoundMetrics) -> Iterator[tuple[str, str, str]]:
    for name, group in sorted((row.slices or {}).items()):
        flagged = " (worse)" if group.flagged else ""
        rate = _between(group.win_rate, group.low, group.high, SHARE)
        yield as_text(name), whole(group.prompts), rate + flagged


def interval(row: RoundMetrics, name: str, unit: str = "") -> str:
    return _between(*row.interval(name), unit)


def _between(value: float | None, low: float | None, high: float | None, unit: str = "") -> str:
    """An estimate and, if known, its interval."""
    if value is None:
        return MISSING
    scale, digits = (100, 1) if unit == SHARE else (1, 3)
    text = f"{scale * value:.{digits}f}"
    if low is not None and high is not None:
        text += f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{text} {unit}".rstrip()


def _base(row: RoundMetrics, name: str, unit: str) -> str:
    return interval(row, f"{name}_base", unit) if not name.endswith("_base") else MISSING


def whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def as_text(text: str) -> str:
    return escape(visible(text))
