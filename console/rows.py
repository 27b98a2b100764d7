"""Campaigns as rows of the home page, and what waits for a person, first of all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from console.campaigns import ShownCampaign
from dpo_core.text import visible
from reporting.costs import list_costs
from reporting.number_formats import MISSING, format_metric, format_number
from reporting.sentences import failure_sentence, headline
from reporting.verdicts import TrustVerdict, judge_campaign
from reporting.win_rate_chart import WinRateChart, draw_win_rates

_SPARKLINE = 132, 34
"""Its width and height in pixels."""
_COSTS_SHOWN = 2


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
    sparkline: WinRateChart | None


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
        format_metric(row, "win_rate_base") if row is not None else MISSING,
        format_number("kl_base_nats", row.kl_base_nats) if row is not None else MISSING,
        ", ".join([*list_costs(summary)][:_COSTS_SHOWN]),
        draw_win_rates(summary, *_SPARKLINE),
    )


def list_tasks(campaigns: Sequence[ShownCampaign]) -> Iterator[PersonTask]:
    """Labels to give, decisions to take and failures to mend."""
    for shown in campaigns:
        if shown.waiting is not None:
            asked = shown.waiting
            if asked.question is not None:
                yield PersonTask(shown, "decision", _decision_sentence(shown))
            else:
                given = f"{asked.needed - asked.missing:,} of {asked.needed:,} labels given"
                yield PersonTask(shown, "labels", f"Round {asked.round}: {given}.")
        elif shown.summary is not None and shown.summary.failure is not None:
            yield PersonTask(shown, "failure", failure_sentence(shown.summary))


def _decision_sentence(shown: ShownCampaign) -> str:
    assert shown.waiting is not None
    text = shown.waiting.sentence.partition("; see ")[0]
    return f"{visible(text[:1].upper() + text[1:])}."


def say_headline(shown: ShownCampaign) -> str:
    return headline(shown.summary) if shown.summary is not None else shown.fault
