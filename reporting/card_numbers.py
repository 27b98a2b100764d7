"""The evaluation section of a model card: metrics with their intervals, as markdown."""

from collections.abc import Iterator

from dpo_core.text import visible
from flows.config import CampaignConfig
from labeling.exchange.markdown import escape, table
from reporting.numbers import MISSING, Row, number

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


def evaluation(row: Row, config: CampaignConfig) -> list[str]:
    rows = [
        (label + _extrapolated(row, name), interval(row, name, unit), _base(row, name, unit))
        for name, label, unit in _MEASURED
        if number(row, name) is not None
    ]
    prompts = cell(row, "test_prompts")
    return [
        "## Evaluation",
        f"On {prompts} prompts that no round trained on. In brackets: "
        f"{100 * config.evaluation.confidence:g}% confidence intervals, by resampling prompts. "
        "Ties count half.",
        table(("measured", "this policy", "base"), rows),
        table(("suite", "score", "change"), _suites(row)),
        table(("slice", "prompts", "win rate"), _slices(row)),
    ]


def _extrapolated(row: Row, name: str) -> str:
    return " (extrapolated)" if row.get(f"{name}_extrapolated") else ""


def _suites(row: Row) -> Iterator[tuple[str, str, str]]:
    for name, suite in sorted((row.get("suites") or {}).items()):
        failed = " (fell)" if suite.get("failed") else ""
        score = _between(suite, "score", "low", "high")
        yield as_text(name), score, interval(suite, "change") + failed


def _slices(row: Row) -> Iterator[tuple[str, str, str]]:
    for name, group in sorted((row.get("slices") or {}).items()):
        flagged = " (worse)" if group.get("flagged") else ""
        rate = _between(group, "win_rate", "low", "high", SHARE)
        yield as_text(name), cell(group, "prompts"), rate + flagged


def interval(row: Row, name: str, unit: str = "") -> str:
    return _between(row, name, f"{name}_low", f"{name}_high", unit)


def _between(row: Row, name: str, low_name: str, high_name: str, unit: str = "") -> str:
    """An estimate and, if known, its interval."""
    value, low, high = number(row, name), number(row, low_name), number(row, high_name)
    if value is None:
        return MISSING
    scale, digits = (100, 1) if unit == SHARE else (1, 3)
    text = f"{scale * value:.{digits}f}"
    if low is not None and high is not None:
        text += f" [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"
    return f"{text} {unit}".rstrip()


def _base(row: Row, name: str, unit: str) -> str:
    return interval(row, f"{name}_base", unit) if not name.endswith("_base") else MISSING


def cell(row: Row, name: str) -> str:
    value = number(row, name)
    return MISSING if value is None else f"{value:,.0f}"


def as_text(text: str) -> str:
    return escape(visible(text))
