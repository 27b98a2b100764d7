"""How each number is written: alike in sentences, tables, plots, pages and model cards.

A share is `57.2%`, a number with its interval `57.2% [55.1, 59.4]`; where a sentence names the
level of its intervals for the first time, `57.2% [95% CI 55.1, 59.4]`.
"""

import re

from dpo_core.campaign.round_metrics import RoundMetrics

MISSING = "–"
SHARE, COUNT, TWO_DIGITS, THREE_DIGITS, OTHER = ".1%", ",.0f", ".2f", ".3f", ".4g"
"""Formats that Python and d3, which draws the plots, understand alike."""

COLLAPSED_NATS = 1_000.0
"""KL to the base beyond which its value says nothing more: the policy is another model."""

_SHARES = (
    *("win_rate", "lc_win_rate", "training_win_rate", "longer_win_rate", "share", "accuracy"),
    *("truncated_share", "empty_share", "refusal_share", "repetition_share", "padding_share"),
    *("relevance", "distinct_1", "distinct_2", "mfu", "decided_share", "token_repetition"),
    *("abstention_rate", "position_bias", "self_consistency", "truncated_rise", "repetition_rise"),
)
_FORMATS = {
    **dict.fromkeys(_SHARES, SHARE),
    **dict.fromkeys(
        ("kl_base_nats", "kl_previous_nats", "kl_reference_nats", "base_nats_per_token"), TWO_DIGITS
    ),
    **dict.fromkeys(("entropy", "kappa", "alpha", "train_peak_memory_gib"), TWO_DIGITS),
    **dict.fromkeys(
        ("score_mean", "training_score_mean", "score", "margin", "self_similarity"), THREE_DIGITS
    ),
    **dict.fromkeys(("chosen_logratio", "rejected_logratio", "p_adjusted"), THREE_DIGITS),
    **dict.fromkeys(("tokens_per_second", "train_tokens_per_second"), COUNT),
    "relevance_to": SHARE,
    "length_to": TWO_DIGITS,
    "rating": "+.2f",
    "score_change": "+.3f",
    "points": "+.1f",
    "answer_score": OTHER,
    "length_mean": ".1f",
    "length_tokens": ".1f",
    "loss": ".4f",
    "win_rate_per_100_tokens": "+.2f",
    "money": ",.2f",
}
_OF_WHOM = re.compile("(_(base|previous|gate|low|high))+$")
"""What follows the name of a metric in names of columns."""


def number_format(name: str) -> str:
    """The format of a metric, by the name of its column."""
    if name.startswith("measure_"):
        return SHARE
    return _FORMATS.get(name) or _FORMATS.get(_OF_WHOM.sub("", name), OTHER)


def format_number(name: str, value: float | None) -> str:
    """A value of the metric `name`."""
    if value is None:
        return MISSING
    if name.startswith("kl_") and value > COLLAPSED_NATS:
        return f"> {COLLAPSED_NATS:,.0f}"
    return write_number(value, number_format(name))


def write_number(value: float, form: str) -> str:
    """In a format, with a true minus sign, and without one before zero."""
    text = format(value, form)
    return text.replace("-", "−" if re.search("[1-9]", text) else "")


def format_estimate(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    level: float | None = None,
) -> str:
    """A value of the metric `name` and, if known, its interval. level: of the interval, if it is
    to be named."""
    text = format_number(name, value)
    if value is None or low is None or high is None:
        return text
    ends = ", ".join(format_number(name, end).rstrip("%") for end in (low, high))
    return f"{text} [{100 * level:g}% CI {ends}]" if level is not None else f"{text} [{ends}]"


def format_metric(row: RoundMetrics, name: str, level: float | None = None) -> str:
    """A metric of a round with its interval."""
    return format_estimate(name, *row.interval(name), level)


def format_duration(seconds: float | None) -> str:
    """Two units at most: `42 s`, `12 min 35 s`, `1 h 09 min`, `3 d 4 h`."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
