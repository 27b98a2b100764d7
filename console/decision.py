"""A gate's question to a person: the candidate beside the incumbent, in numbers and answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from console.campaigns import ShownCampaign
from dpo_core.campaign.facts import incumbent_round
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.text import visible
from reporting.at_a_glance import list_concerns
from reporting.number_formats import MISSING, format_metric, format_number
from reporting.numbers import base_number
from reporting.read.samples import held_out_rows
from reporting.sentences import gate_checks, gate_reasons
from reporting.summary import CampaignSummary
from reporting.verdicts import TrustVerdict, judge_round

SAMPLES = 8
"""Prompts whose answers are shown side by side, those first where the scores differ most."""


@dataclass(frozen=True)
class AnswerPair:
    """A held-out prompt with both answers and their scores, as text."""

    prompt: str
    incumbent: str
    candidate: str
    scores: tuple[str, str]


@dataclass(frozen=True)
class OpenDecision:
    """Everything that a decision needs. numbers: (what, of the incumbent, of the candidate)."""

    round: int
    incumbent: str
    verdict: TrustVerdict
    reasons: Sequence[str]
    checks: Sequence[tuple[str, str, str, str]]
    concerns: Sequence[str]
    numbers: Sequence[tuple[str, str, str]]
    samples: Sequence[AnswerPair]


def read_decision(shown: ShownCampaign) -> OpenDecision | None:
    """The open question of a campaign; None if it asks none."""
    summary, asked = shown.summary, shown.waiting
    if summary is None or asked is None or asked.question is None:
        return None
    row = summary.row(asked.round)
    if row is None:
        return None
    before = {other.round: other for other in summary.rounds if other.round < asked.round}
    incumbent = incumbent_round(before, summary.rollbacks, asked.round - 1)
    return OpenDecision(
        asked.round,
        f"round {incumbent}" if incumbent else "the base",
        judge_round(summary, row),
        gate_reasons(row),
        gate_checks(row),
        list_concerns(summary, row),
        _numbers(summary, row, before.get(incumbent)),
        _samples(shown, summary, incumbent, asked.round),
    )


def _numbers(
    summary: CampaignSummary, candidate: RoundMetrics, incumbent: RoundMetrics | None
) -> list[tuple[str, str, str]]:
    def both(what: str, name: str) -> tuple[str, str, str]:
        old = format_number(name, base_number(summary, name))
        if incumbent is not None:
            old = format_metric(incumbent, name)
        return what, old, format_metric(candidate, name)

    rows = [
        both("Win rate vs. base", "win_rate_base"),
        ("Win rate vs. the incumbent", MISSING, format_metric(candidate, "win_rate_gate")),
        both("KL to the base, nats", "kl_base_nats"),
        both("Mean length, tokens", "length_mean"),
        both("Truncated answers", "truncated_share"),
        both("Answers that match their prompt", "relevance"),
    ]
    return [row for row in rows if row[1:] != (MISSING, MISSING)]


def _samples(
    shown: ShownCampaign, summary: CampaignSummary, incumbent: int, candidate: int
) -> list[AnswerPair]:
    rows, _ = held_out_rows(shown.layout, summary.rounds_planned)
    found: list[tuple[float, AnswerPair]] = []
    for row in rows:
        answers = {answer.round: answer for answer in row.answers}
        if incumbent not in answers or candidate not in answers:
            continue
        old, new = answers[incumbent], answers[candidate]
        apart = abs((new.score or 0.0) - (old.score or 0.0))
        scores = tuple(MISSING if a.score is None else f"{a.score:.3g}" for a in (old, new))
        texts = (visible(row.prompt), visible(old.text), visible(new.text))
        found.append((-apart, AnswerPair(*texts, (scores[0], scores[1]))))
    found.sort(key=lambda entry: entry[0])
    return [sample for _, sample in found[:SAMPLES]]
