"""The first screen: is it better, at what price, can I trust it?"""

from collections.abc import Iterator, Mapping
from typing import Any

from dpo_core.text import counted, visible
from reporting.certification import certification_sentences, certification_summary
from reporting.label_gains import PER, count_human_labels, count_labels, label_gains
from reporting.numbers import Row, lowest_kappa, number
from reporting.sentences import cautions, incumbent_row, percent_interval
from reporting.summary import CampaignSummary
from reporting.tables.evaluation import cycles
from reporting.tables.first_screen import points

QuestionAnswer = tuple[str, str]
"""(question, what is known in a sentence or two)."""

CONCERNS_SHOWN = 4
SAME_JUDGE = "same judge"
"""Name of the warning, which the first round alone carries."""
_LENGTH_GAP = 0.05
_KAPPA_WEAK = 0.4
_FEW_DECIDED = 0.9


def at_a_glance(summary: CampaignSummary) -> tuple[QuestionAnswer, ...]:
    """Three questions with their answers; none before the first round has finished."""
    if not summary.rounds:
        return ()
    row = incumbent_row(summary)
    return (
        ("Better?", _better(row)),
        ("At what price?", _price(summary)),
        ("Can I trust it?", _trust(summary, row)),
    )


def _better(row: Row) -> str:
    parts = [f"Round {row['round']} wins {percent_interval(row, 'win_rate_base')} against the base"]
    if number(row, "lc_win_rate_base") is not None:
        how = " (extrapolated)" if row.get("lc_win_rate_base_extrapolated") else ""
        parts.append(f"{percent_interval(row, 'lc_win_rate_base')} at equal length{how}")
    parts.append(f"{percent_interval(row, 'win_rate_previous')} against the policy before it")
    return ", ".join(parts) + "."


def _price(summary: CampaignSummary) -> str:
    spent = ", ".join(_spent(summary)) or "nothing was counted"
    said = f"{counted(len(summary.rounds), 'round')}: {spent}."
    last = label_gains(summary)
    if last and last[-1].win_rate is not None:
        gained = points(last[-1].win_rate)
        said += f" At the last round's rate {PER} labels bought {gained} points of win rate."
    return said


def _spent(summary: CampaignSummary) -> Iterator[str]:
    for name, what in (("seconds_round", ""), ("gpu_seconds", "GPU-"), ("cpu_seconds", "CPU-")):
        total = _total(summary, name)
        if total:
            yield _duration(total, what)
    written = _total(summary, "tokens_out")
    if written:
        yield f"{written:,.0f} tokens written"
    if any("labels_by_source" in row or row.get("judges") for row in summary.rounds):
        labels = sum(count_labels(row) for row in summary.rounds)
        people = sum(count_human_labels(row) or 0 for row in summary.rounds)
        yield f"{labels:,} labels ({people:,} of people)"
    money = _total(summary, "money")
    if money:
        prices: Mapping[str, Any] = summary.settings.get("prices") or {}
        yield f"{visible(str(prices.get('currency', 'money')))} {money:,.2f}"


def _duration(seconds: float, what: str) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {what}{unit}"
    return f"{seconds:.0f} {what}seconds"


def _total(summary: CampaignSummary, name: str) -> float:
    """Of the whole campaign, with the base and what was made in vain, where that is known."""
    whole = number(summary.cost, name)
    return sum(number(row, name) or 0.0 for row in summary.rounds) if whole is None else whole


def _trust(summary: CampaignSummary, row: Row) -> str:
    """What was found in any round by the evaluation's own set-up counts for all of them."""
    found = dict.fromkeys([*_measured(row), *_same_judge(summary), *cautions(summary, row)])
    last = " ".join((f"{_checked(row)}{_looked(summary)}", *certification_sentences(summary)))
    if not found:
        said = f"Nothing that was measured in round {row['round']} speaks against it."
        return f"{said} {last}"
    shown = " ".join(list(found)[:CONCERNS_SHOWN])
    left = len(found) - CONCERNS_SHOWN
    more = f" And {left} more below." if left > 0 else ""
    return f"With care: {shown}{more} {last}"


def _same_judge(summary: CampaignSummary) -> Iterator[str]:
    if any(SAME_JUDGE in (row.get("warnings") or {}) for row in summary.rounds):
        yield "The judge of the evaluation is that of the training."


def _checked(row: Row) -> str:
    lowest = lowest_kappa(row)
    if lowest is None:
        return "No person's verdict was compared with the judge's."
    return f"Judges agree with people at κ {lowest:.2f}."


def _looked(summary: CampaignSummary) -> str:
    if summary.gate_looks < 2 or certification_summary(summary) is not None:
        return ""
    return (
        f" The gate decided {summary.gate_looks} times on the same prompts: each time a policy "
        "that is no better may pass by chance."
    )


def _left_out(row: Row) -> Iterator[str]:
    """Where many comparisons with the base were not decided."""
    found = (row.get("decided") or {}).get("base") or {}
    of, decided = found.get("comparisons") or 0, found.get("decided") or 0
    if of and decided < _FEW_DECIDED * of:
        yield f"Only {decided} of {of} comparisons with the base were decided."


def _irrelevant(row: Row) -> Iterator[str]:
    """Where clearly fewer answers belong to their requests than of the base."""
    share, base, high = (
        number(row, name) for name in ("relevance", "relevance_base", "relevance_change_base_high")
    )
    if share is not None and base is not None and high is not None and high < 0:
        yield (
            f"The base finds the requests of {100 * share:.0f} % of the answers, of "
            f"{100 * base:.0f} % of its own."
        )


def _measured(row: Row) -> Iterator[str]:
    """What the evaluation found that speaks against the win rate."""
    if row.get("lc_win_rate_base_extrapolated"):
        yield (
            "The win rate at equal length is extrapolated: nearly all answers are longer than the "
            "base's, or nearly all shorter."
        )
    yield from _left_out(row)
    plain, controlled = (number(row, f"{p}win_rate_base") for p in ("", "lc_"))
    if plain is not None and controlled is not None and plain - controlled > _LENGTH_GAP:
        yield f"At equal length it wins {100 * (plain - controlled):.0f} points less."
    yield from _irrelevant(row)
    failed = [name for name, one in (row.get("suites") or {}).items() if one.get("failed")]
    if failed:
        yield f"Suites that fell: {', '.join(map(visible, failed))}."
    worse = [
        name
        for name, one in (row.get("slices") or {}).items()
        if one.get("flagged") and (number(one, "win_rate") or 0.0) < 0.5
    ]
    if worse:
        yield f"Worse on {', '.join(map(visible, worse[:3]))}."
    circles = cycles(row)
    if circles:
        yield f"Rounds beat each other in a circle: {circles[0]}."
    kappas = ((row.get("agreement") or {}).get("kappa") or {}).items()
    for judge, one in kappas:
        value = number(one, "value")
        if value is not None and value < _KAPPA_WEAK:
            yield f"{visible(judge)} agrees with people only at κ {value:.2f}."
