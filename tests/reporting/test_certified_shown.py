"""What a certified campaign says of itself."""

from typing import Any

from dpo_core.campaign.gate_record import GateRecord, PersonsDecision
from dpo_core.campaign.round_metrics import RoundMetrics
from reporting.certification import (
    certification_sentences,
    certification_status,
    certification_summary,
)
from reporting.sentences import verdict
from reporting.summary import CampaignSummary


def row(
    number: int, promoted: bool = True, answer: PersonsDecision | None = None, **certificate: Any
) -> RoundMetrics:
    told = {
        "certified": True,
        "false_promotions": 0.05,
        "decision": number,
        "planned": 4,
        "start": 256 * (number - 1),
        "prompts": 256,
        "pool": 1211,
        **certificate,
    }
    gate = GateRecord(certificate=told, answer=answer)
    return RoundMetrics(round=number, promoted=promoted, gate=gate)


def summary(*rows: RoundMetrics) -> CampaignSummary:
    return CampaignSummary("c", "campaigns/c", "stopped", 4, rows)


def test_the_claim_names_the_promoted_rounds_and_what_was_used() -> None:
    found = summary(row(1), row(2, promoted=False), row(3))
    assert certification_sentences(found) == (
        "Certified: the probability that any of rounds 1 and 3 was promoted without being better "
        "is at most 5% (3 of 4 planned decisions made, 768 of 1,211 gate prompts used).",
    )
    told = certification_summary(found)
    assert told is not None
    assert (told.decisions, told.planned, told.prompts_used) == (3, 4, 768)
    assert [each.rests_on for each in told.rounds] == ["certified"] * 3
    [said] = certification_sentences(summary(row(1, promoted=False)))
    assert said.startswith("Certified, but no round was promoted so far (1 of 4 planned decisions")
    [said] = certification_sentences(summary(row(1)))
    assert "the probability that round 1 was promoted" in said


def test_it_says_where_prompts_ran_out_and_what_a_person_promoted() -> None:
    asked = row(2, answer=PersonsDecision(True, "", "anna", ""))
    uncertified = RoundMetrics(round=4, promoted=True)
    found = summary(row(1), asked, row(3, certified=False), uncertified)
    first, left, person, before = certification_sentences(found)
    assert "the probability that round 1 was promoted without being better is at most 5%" in first
    assert left.startswith("Not certified from round 3 on: too few of 1,211 gate prompts are unu")
    assert person == "Promoted by a person, without a certificate: round 2."
    assert before == "Decided without a test: round 4."
    assert [certification_status(each) for each in found.rounds] == [
        "certified",
        "by a person",
        "not certified",
        None,
    ]
    said = [verdict(each).partition(":")[0] for each in found.rounds]
    assert said == [
        "Promoted, certified",
        "Promoted by a person, not certified",
        "Promoted, not certified",
        "Promoted",
    ]


def test_a_test_on_the_gate_set_is_named_as_the_weaker_claim_that_it_is() -> None:
    weaker = row(2, about="gate_set", start=0)
    first, second = certification_sentences(summary(row(1), weaker))
    assert "the probability that round 1 was promoted without being better" in first
    assert second.startswith("Certified on the gate set alone from round 2 on, because unused")
    assert "fresh answers to its 256 prompts, not other prompts" in second
    assert verdict(weaker).startswith("Promoted, certified on the gate set:")


def test_a_campaign_without_certificates_says_nothing_of_them() -> None:
    assert certification_summary(summary(RoundMetrics(round=1, promoted=True))) is None
    assert certification_sentences(summary()) == ()
