"""Campaigns as rows of the home page, and what waits for a person, first of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from console.campaigns import ShownCampaign
from dpo_core.text import visible
from reporting.at_a_glance import list_costs
from reporting.numbers import MISSING
from reporting.sentences import failure_sentence, format_nats, format_win_rate, headline
from reporting.summary import CampaignSummary
from reporting.verdicts import TrustVerdict, judge_campaign

WIDTH, HEIGHT = 132, 34
"""Of a sparkline, in pixels."""
_PAD = 4
_COSTS_SHOWN = 2
_RANGE = 0.45, 0.6
"""Win rates that every sparkline reaches to; even is among them."""


@dataclass(frozen=True)
class Sparkline:
    """Win rates against the base, round by round. line: of the estimates. band: of the intervals.
    last: where the last one is. even: height of 50 %. spoken: the same in words."""

    line: str
    band: str
    last: tuple[float, float]
    even: float
    spoken: str


@dataclass(frozen=True)
class CampaignRow:
    """What the home page says of a campaign."""

    shown: ShownCampaign
    verdict: TrustVerdict
    progress: str
    share: float | None
    """Of the running step that is done; None where nothing runs, or says how much there is."""
    doing: str
    win_rate: str
    kl: str
    cost: str
    sparkline: Sparkline | None


@dataclass(frozen=True)
class PersonTask:
    """Something that only a person can do. kind: labels, decision or failure."""

    shown: ShownCampaign
    kind: str
    sentence: str


def campaign_row(shown: ShownCampaign) -> CampaignRow:
    summary = shown.summary
    if summary is None:
        unknown = TrustVerdict("cannot be read", "bad")
        return CampaignRow(shown, unknown, "", None, shown.fault, MISSING, MISSING, "", None)
    row = summary.rounds[-1] if summary.rounds else None
    step = summary.step
    return CampaignRow(
        shown,
        judge_campaign(summary),
        f"{len(summary.rounds)} of {summary.rounds_planned}",
        step.done / step.total if step is not None and step.total else None,
        step.sentence() if step is not None else "",
        format_win_rate(row, "win_rate_base") if row is not None else MISSING,
        format_nats(row.kl_base_nats) if row is not None else MISSING,
        ", ".join([*list_costs(summary)][:_COSTS_SHOWN]),
        sparkline(summary),
    )


def list_tasks(campaigns: Sequence[ShownCampaign]) -> Iterator[PersonTask]:
    """Labels to give, decisions to take and failures to mend."""
    for shown in campaigns:
        if shown.waiting is not None:
            asked = shown.waiting
            if asked.question is not None:
                yield PersonTask(shown, "decision", _decision_sentence(shown))
            else:
                given = f"{asked.needed - asked.missing:,} of {asked.needed:,} labels are there"
                yield PersonTask(shown, "labels", f"Round {asked.round}: {given}.")
        elif shown.summary is not None and shown.summary.failure is not None:
            yield PersonTask(shown, "failure", failure_sentence(shown.summary))


def _decision_sentence(shown: ShownCampaign) -> str:
    assert shown.waiting is not None
    text = shown.waiting.sentence.partition("; see ")[0]
    return f"{visible(text[:1].upper() + text[1:])}."


def sparkline(summary: CampaignSummary) -> Sparkline | None:
    """None before a round was compared with the base."""
    points = [
        (row.round, rate, low if low is not None else rate, high if high is not None else rate)
        for row in summary.rounds
        for rate, low, high in [row.interval("win_rate_base")]
        if rate is not None
    ]
    if not points:
        return None
    bottom = min(_RANGE[0], *(low for _, _, low, _ in points))
    top = max(_RANGE[1], *(high for _, _, _, high in points))
    last_round = max(summary.rounds_planned, points[-1][0], 2)

    def x(number: int) -> float:
        return round(_PAD + (WIDTH - 2 * _PAD) * (number - 1) / (last_round - 1), 1)

    def y(share: float) -> float:
        return round(_PAD + (HEIGHT - 2 * _PAD) * (top - share) / (top - bottom), 1)

    line = " ".join(f"{x(n)},{y(rate)}" for n, rate, _, _ in points)
    upper = [f"{x(n)},{y(high)}" for n, _, _, high in points]
    lower = [f"{x(n)},{y(low)}" for n, _, low, _ in reversed(points)]
    n, rate, _, _ = points[-1]
    spoken = ", ".join(f"round {number}: {share:.0%}" for number, share, _, _ in points)
    return Sparkline(
        line, " ".join(upper + lower), (x(n), y(rate)), y(0.5), f"Win rate vs. the base. {spoken}"
    )


def say_headline(shown: ShownCampaign) -> str:
    return headline(shown.summary) if shown.summary is not None else shown.fault
