"""How often the gate looked at its prompts, and what else is said of its numbers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from demo_summary import demo
from written_campaign import Written

from dpo_core.campaign.facts import count_gate_looks
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.as_json import as_json
from reporting.at_a_glance import at_a_glance
from reporting.report import render_report
from reporting.sections import first_screen
from reporting.summary import read_summary


def gates(*questions: str | None) -> Iterator[Entry]:
    for number, question in enumerate(questions, 1):
        facts = {} if question is None else {"question": question}
        yield Entry(round=1, step="gate", fingerprint=f"f{number}", facts=facts)
        yield Entry(round=1, step="training", fingerprint=f"t{number}")


def test_each_policy_that_was_decided_on_is_a_look() -> None:
    assert count_gate_looks([]) == 0
    assert count_gate_looks(gates("r1", "r2", "r2 again")) == 3, "an attempt is another policy"
    assert count_gate_looks(gates("r1", "r2", "r2")) == 2, "a person's answer looks at nothing"
    assert count_gate_looks(gates(None, None)) == 2, "of campaigns that noted no question"


def test_it_is_said_once_there_were_several(tmp_path: Path) -> None:
    campaign = Written(tmp_path / "campaign")
    campaign.round(1)
    once = read_summary(campaign.root)
    assert (once.gate_looks, as_json(once)["gate_looks"]) == (1, 1)
    assert "decided" not in at_a_glance(once)[-1][1]
    campaign.round(1, again=1)
    campaign.round(2)
    several = read_summary(campaign.root)
    assert as_json(several)["gate_looks"] == 3
    assert (
        "The gate decided 3 times on the same prompts; each time, a policy that is no better may "
        "pass by chance." in at_a_glance(several)[-1][1]
    )


def test_what_is_extrapolated_or_left_out_is_said() -> None:
    summary = demo()
    row = summary.rounds[-1] | RoundMetrics(
        round=3,
        lc_win_rate_base=0.8,
        lc_win_rate_base_extrapolated=True,
        decided={"base": {"comparisons": 512, "decided": 300}},
    )
    shown = replace(summary, rounds=(*summary.rounds[:-1], row))
    better, _, trusted = (said for _, said in at_a_glance(shown))
    assert "length-controlled 80.0%, extrapolated;" in better
    assert "The length-controlled win rate is extrapolated" in trusted
    assert "Only 300 of 512 comparisons with the base were decided." in trusted
    [table] = [s for s in first_screen(shown) if s.title == "Can I trust it?"]
    assert "80.0% extrapolated" in table.rows[-1]
    assert "80.0%, extrapolated" in render_report(shown)
    assert ", extrapolated" not in render_report(summary)
