"""What status and report show of judges, people and their agreement, from what the steps tell."""

from dataclasses import asdict, replace
from typing import Any

from demo_summary import demo, measured

from dpo_core.records import Completion, Judgement, Pair, Prompt
from labeling.aggregation.agreement import Alpha, Kappa, Rate, RoundAgreement
from labeling.aggregation.annotators import Annotator
from labeling.judges.behaviour import measure_behaviour
from reporting.summary import CampaignSummary
from reporting.tables.labeling import labelling_sections


def judged() -> Any:
    """Four pairs: longer, shorter and nobody wins, and one without a verdict."""
    prompt = Prompt("p", text="?")
    long, short = (Completion(f"{n}", prompt, "x" * n, "stop", n) for n in (150, 50))
    pair = Pair("pair", long, short)
    verdicts = [
        Judgement("a", forward="a", backward="a"),
        Judgement("b", forward="b", backward="b"),
        Judgement("tie", forward="a", backward="b"),
        Judgement(None, "unreadable"),
    ]
    return asdict(measure_behaviour([(pair, verdict) for verdict in verdicts]))


def told(**columns: Any) -> CampaignSummary:
    return replace(demo(), rounds=(measured(1, 0.6, 0.6, 0.6, 0.2, **columns),))


def table(summary: CampaignSummary, title: str) -> list[dict[str, str]]:
    [section] = [s for s in labelling_sections(summary) if s.title == title]
    return [dict(zip(section.header, row, strict=True)) for row in section.rows]


def test_judges() -> None:
    assert table(told(judges={"rule:x": judged()}), "Who judged") == [
        {
            "judge": "rule:x",
            "round": "1",
            "pairs": "4",
            "abstained": "25.0%",
            "ties": "1",
            "position": "33.3%",  # of three pairs read in both orders, one
            "consistent": "66.7%",
            "longer": "50.0%",  # a win, a loss and a tie
            "slope": "+0.00",
        }
    ]


def test_people_are_shown_with_what_was_hidden_to_measure_them() -> None:
    ann = Annotator(12, 1, Rate(0.75, 4), Rate(None, 0), Rate(0.5, 10))
    [row] = table(told(annotators={"ann": asdict(ann)}), "Who labelled")
    assert (row["gold right"], row["labels"], row["discarded"]) == ("75.0%", "12", "1")
    assert row["prefers A"] == "50.0%"
    assert "repeats same" not in row  # nothing was asked twice


def test_the_mode_of_every_label_is_told() -> None:
    labels = {
        "asked": {"pair": 10, "gold": 2},
        "by_mode": {"blind": 9, "review": 3},
        "answers_missing": 0,
        "seconds_waited": 5400.0,
    }
    assert table(told(labels=labels), "How people were asked") == [
        {
            "people": "round 1",
            "pairs": "10",
            "gold": "2",
            "labels, blind": "9",
            "labels, review": "3",
            "missing": "0",
            "waited": "1 h 30 min",
        }
    ]


def test_agreement() -> None:
    found = RoundAgreement(
        Rate(0.9, 10),
        Alpha(0.41, 30, 3),
        {"rule:x": Kappa(0.625, 20, 0.8)},
        {"human:ann": Rate(None, 0)},
    )
    rows = table(told(agreement=asdict(found)), "Do they agree?")
    assert [(row["who"], row["α"], row["κ with people"]) for row in rows] == [
        ("all people", "0.41", "–"),
        ("rule:x", "–", "0.62"),
    ]
    assert "with others" not in rows[0]  # nobody shared a pair with another


def test_what_the_audit_found_is_shown_and_what_it_did_not_find_is_not() -> None:
    facts = {
        "near_duplicates": {"count": 3, "of": 40, "unit": "pairs", "share": 0.075},
        "ties": {"count": 0, "of": 40, "unit": "pairs", "share": 0.0},
    }
    assert table(told(audit=facts), "What the audit found") == [
        {"finding": "near_duplicates", "round": "1", "found": "3", "of": "40", "share": "7.5%"}
    ]


def test_how_far_a_judge_is_trusted() -> None:
    fitted = {"n": 30, "right": 24, "error_before": 0.21, "error_after": 0.04, "method": "platt"}
    [row] = table(told(calibration={"llm:x": fitted}), "Calibration of the judges")
    assert (row["shared pairs"], row["right"]) == ("30", "24")
    assert (row["error before"], row["error after"]) == ("0.210", "0.040")


def test_a_campaign_of_an_older_version_has_none_of_these() -> None:
    assert all(section.rows == () for section in labelling_sections(told()))
