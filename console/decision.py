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
from reporting.read.samples import SampledAnswer, held_out_rows
from reporting.sentences import gate_checks, gate_reasons
from reporting.summary import CampaignSummary
from reporting.verdicts import TrustVerdict, judge_round
from reporting.word_diff import DiffPart, diff_words

SAMPLES = 8
"""Prompts whose answers are shown side by side, those first where the scores differ most."""


@dataclass(frozen=True)
class AnswerPair:
    """A held-out prompt with both answers in parts: which words differ. scores: as text."""

    prompt: str
    incumbent: Sequence[DiffPart]
    candidate: Sequence[DiffPart]
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
    found: list[tuple[float, str, SampledAnswer, SampledAnswer]] = []
    for row in rows:
        answers = {answer.round: answer for answer in row.answers}
        if incumbent not in answers or candidate not in answers:
            continue
        old, new = answers[incumbent], answers[candidate]
        apart = abs((new.score or 0.0) - (old.score or 0.0))
        found.append((-apart, row.prompt, old, new))
    found.sort(key=lambda entry: entry[0])
    return [_answer_pair(prompt, old, new) for _, prompt, old, new in found[:SAMPLES]]


def _answer_pair(prompt: str, old: SampledAnswer, new: SampledAnswer) -> AnswerPair:
    parts = diff_words(visible(old.text), visible(new.text))
    return AnswerPair(
        visible(prompt),
        [part for part in parts if part.change != "inserted"],
        [part for part in parts if part.change != "deleted"],
        (format_number("answer_score", old.score), format_number("answer_score", new.score)),
    )
