"""While a person is asked, and after a yes, no surface says that the policy did not improve."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo_summary import demo, measured
from rich.console import Console
from small_campaign import Campaign

from console.campaigns import ShownCampaign
from console.rows import campaign_row, list_tasks
from dpo_core.campaign.gate_record import GateCheck
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.waiting import Waiting
from dpo_core.gate.decision import Decision, PersonsDecision, apply_answer
from flows.config import read_stored
from reporting.as_json import as_json
from reporting.card import PolicyFacts, model_card
from reporting.compare.render import render_page
from reporting.compare.sides import Side, compare_sides
from reporting.report import render_report
from reporting.sentences import gate_decisions, headline, verdict
from reporting.summary import CampaignSummary
from reporting.terminal import render_table
from reporting.verdicts import judge_campaign
from reporting.watch import status_lines

FORBIDDEN = (
    *("not promoted", "refused", "not passed", "did not", "not clearly better", "is worse"),
    *("no round was promoted", "nothing was promoted", "improve"),
)
FAILED = "lower bound 46% of the gate win rate (50%) is not above the 50% threshold"
ASKED = Decision("ask", (FAILED,), (GateCheck("win_rate_gate_low", 0.46, 0.5, False),), 1, 0)
YES = PersonsDecision(True, "the answers read better", "ann", "2026-01-05T10:00:00+00:00")


def _row(decision: Decision, **gate: Any) -> RoundMetrics:
    """One that is worse than the base, by its interval."""
    return measured(
        *(1, 0.42, 0.42, 0.49, 0.4),
        promoted=decision.promoted,
        decision=decision.sentence,
        gate={**decision.as_json(), **gate},
    )


def _asked() -> CampaignSummary:
    doing = f"round 1 {ASKED.sentence}; see report.html, then type `ratchet decide x --promote`"
    return replace(demo(), rounds=(_row(ASKED),), state="waiting", doing=doing, samples=())


def _answered() -> CampaignSummary:
    decision = apply_answer(ASKED, YES, 1)
    row = _row(decision, answer={"promote": True, "by": YES.by, "reason": YES.reason, "at": YES.at})
    return replace(demo(), rounds=(row,), samples=())


def _says(summary: CampaignSummary, campaign: Campaign) -> dict[str, str]:
    row, screen = summary.rounds[-1], io.StringIO()
    Console(file=screen, width=200).print(render_table(summary))
    asked = Waiting(1, "", "", 1, 1, "2026", None, summary.doing, question="q")
    waiting = asked if summary.state == "waiting" else None
    shown = ShownCampaign("id", Path("x"), summary, waiting)
    report = render_report(summary)
    card = model_card(PolicyFacts(summary, read_stored(campaign.layout), row, ()))
    side = Side("a", summary, {}, incumbent=1 if row.promoted else 0)
    return {
        "status": screen.getvalue(),
        "status --json": json.dumps([as_json(summary)[key] for key in ("headline", "verdict")]),
        "status --watch": "\n".join(status_lines(summary)),
        "report": report[report.index("<header>") : report.index('id="numbers"')],
        "card": card,
        "console": f"{campaign_row(shown)} {[*list_tasks([shown])]}",
        "compare": render_page(compare_sides([side, replace(side, label="b")])),
        "notification": " ".join(gate_decisions(summary)) + str(row.decision),
        "prefect, trackers": f"{headline(summary)} {verdict(row)}",
    }


def _outside_the_checks(surface: str, text: str) -> str:
    """What failed is for whoever decides: beside the buttons and below the checks' heading."""
    if surface == "report":
        text = text[: text.find("What the gate checked")] if "checked" in text else text
    return text.replace(FAILED, "").lower()


@pytest.mark.parametrize("answered", [False, True])
def test_nothing_forestalls_or_contradicts_the_person(finished: Campaign, answered: bool) -> None:
    summary = _answered() if answered else _asked()
    for surface, text in _says(summary, finished).items():
        plain = _outside_the_checks(surface, text)
        assert [words for words in FORBIDDEN if words in plain] == [], surface


def test_the_open_question_and_the_answer_are_named() -> None:
    assert judge_campaign(_asked()).text == "awaiting decision"
    assert headline(_asked()) == (
        "Round 1 needs your decision. Round 1 wins 42.0% [95% CI 38.0, 46.0] on 512 held-out "
        "prompts vs. the base; KL to base 0.40 nats."
    )
    assert gate_decisions(_asked()) == ("round 1: needs your decision",)
    said = "promoted: decided by ann on 2026-01-05 10:00 UTC (the answers read better)"
    assert gate_decisions(_answered()) == (f"round 1: {said}",)
    assert str(_answered().rounds[0].decision) == said  # what a notification sends
