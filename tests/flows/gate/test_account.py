"""What the certified gate counts, and when it may look at the same prompts again: by hand."""

from typing import Any

import pytest

from dpo_core.campaign.branching import InheritedAccount
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.retractions import RETRACT
from dpo_core.campaign.rollbacks import ROLLBACK
from dpo_core.gate.account import (
    CERTIFICATE,
    LOOKED,
    Account,
    Turn,
    account_before,
    inheritable_account,
)

FIRST = 256
"""Gate prompts of every evaluation."""


def turn(number: int, attempt: int = 1, declared: str = "as planned") -> Turn:
    name = f"round {number} attempt {attempt}"
    return Turn(number, attempt, name, f"numbers of {name}", declared)


ANNAS = {"promote": True, "reason": "", "by": "anna", "at": "2026-01-02T03:04:05+00:00"}


def entry(number: int, step: str, **facts: Any) -> Entry:
    return Entry(number, step, f"{number} {step} {facts}", facts=facts)


def evaluated(which: Turn) -> Entry:
    outputs = {"evaluation.json": which.evaluation}
    return Entry(which.round, "evaluation", f"evaluated {which.id}", outputs=outputs)


def certificate(which: Turn, start: int = 0, prompts: int = FIRST, **facts: Any) -> Entry:
    told = {"turn": which.id, "attempt": which.attempt, "declared": which.declared}
    told |= {"start": start, "prompts": prompts, "planned": 6, "certified": True}
    return entry(which.round, CERTIFICATE, **told, **facts)


def decided(which: Turn, action: str, answer: Any = None) -> Entry:
    gate = {"action": action, "attempt": which.attempt}
    return entry(which.round, "gate", gate=gate, answer=answer)


def judged(which: Turn, action: str, start: int = 0, prompts: int = FIRST) -> list[Entry]:
    return [evaluated(which), certificate(which, start, prompts), decided(which, action)]


def before(entries: list[Entry], which: Turn, **inherited: Any) -> Account:
    return account_before(entries, which, FIRST, **inherited)


def test_the_first_decision_looks_at_the_prompts_that_its_evaluation_looked_at() -> None:
    found = before([evaluated(turn(1))], turn(1))
    assert found == Account(decisions=0, planned=None, used=0, start=0)
    assert found.alpha(planned=9, false_promotions=0.05) == pytest.approx(0.045 / 9)


def test_after_a_refusal_the_next_declared_attempt_may_look_at_the_same_prompts() -> None:
    entries = judged(turn(1), "retry", prompts=512)
    assert before(entries, turn(1, 2)) == Account(1, 6, used=512, start=0)
    entries += judged(turn(1, 2), "keep", prompts=768)
    assert before(entries, turn(2)) == Account(2, 6, used=768, start=0)


def test_after_a_promotion_the_prompts_are_new() -> None:
    entries = judged(turn(1), "promote", prompts=512)
    assert before(entries, turn(2)) == Account(1, 6, used=512, start=512)
    entries += judged(turn(2), "keep", start=512)
    assert before(entries, turn(3)) == Account(2, 6, used=768, start=512), "since that promotion"


@pytest.mark.parametrize(
    "between",
    [
        [decided(turn(1), "rollback")],
        [decided(turn(1), "stop")],
        [decided(turn(1), "ask"), decided(turn(1), "keep", answer=ANNAS)],
        [decided(turn(1), "ask"), decided(turn(1), "promote", answer=ANNAS)],
        [decided(turn(1), "keep"), entry(1, ROLLBACK, after=1)],
        [decided(turn(1), "keep"), entry(1, RETRACT, source="judge")],
        [decided(turn(1), "retry")],
        [],
    ],
    ids=[
        "rolls back",
        "stops",
        "a no",
        "a yes",
        "taken back",
        "retracted",
        "not the next",
        "undecided",
    ],
)
def test_after_what_nothing_had_declared_the_prompts_are_new(between: list[Entry]) -> None:
    entries = [evaluated(turn(1)), certificate(turn(1)), *between]
    assert before(entries, turn(2)) == Account(1, 6, used=FIRST, start=FIRST)


def test_after_a_changed_config_the_prompts_are_new() -> None:
    entries = judged(turn(1), "keep")
    assert before(entries, turn(2, declared="mended")).start == FIRST
    assert before(entries, turn(2)).start == 0


def test_a_campaign_that_was_not_certified_has_used_its_gate_prompts() -> None:
    entries = [evaluated(turn(1)), decided(turn(1), "keep"), evaluated(turn(2))]
    assert before(entries, turn(2)) == Account(0, None, used=FIRST, start=FIRST)


def test_a_round_that_is_made_anew_is_another_decision_on_new_prompts() -> None:
    again = Turn(1, 1, "round 1 with other labels", "other numbers", "as planned")
    entries = [*judged(turn(1), "keep"), evaluated(again)]
    assert before(entries, again) == Account(1, 6, used=FIRST, start=FIRST)


def test_a_resumed_decision_is_the_same_one() -> None:
    """Whether it was killed among its looks, before its gate or long ago."""
    entries = judged(turn(1), "promote", prompts=512)
    asked = before([*entries, evaluated(turn(2))], turn(2))
    looked = entry(2, "evaluation_gate_512", **{LOOKED: 768, "turn": turn(2).id})
    assert before([*entries, evaluated(turn(2)), looked], turn(2)) == asked
    entries += [evaluated(turn(2)), looked, certificate(turn(2), 512), decided(turn(2), "keep")]
    assert before([*entries, *judged(turn(3), "promote", 512)], turn(2)) == asked
    assert before(entries, turn(3)) == Account(2, 6, used=768, start=512)


def test_looks_that_came_to_no_decision_have_used_their_prompts() -> None:
    gone = Turn(1, 1, "before the judge was mended", "numbers by the old judge", "as planned")
    looked = entry(1, "evaluation_gate_256", **{LOOKED: 512, "turn": gone.id})
    found = before([evaluated(gone), looked, evaluated(turn(1))], turn(1))
    assert found == Account(0, None, used=512, start=512)


def test_a_persons_answer_to_a_question_is_no_second_decision() -> None:
    """Prompts that the answered round used are not used again, and it is counted once."""
    entries = [*judged(turn(1), "ask"), decided(turn(1), "promote", answer=ANNAS)]
    assert before(entries, turn(1)) == Account(0, 6, used=0, start=0)
    assert before(entries, turn(2)) == Account(1, 6, used=FIRST, start=FIRST)


def test_the_plan_is_that_of_the_first_decision_also_when_that_is_read_again() -> None:
    """Or raising `rounds` would give finished rounds another level, and decide them anew."""
    asked = before([evaluated(turn(1))], turn(1))
    again = before(judged(turn(1), "keep"), turn(1))
    assert asked.alpha(planned=6, false_promotions=0.05) == again.alpha(99, 0.05)


def test_where_no_prompts_were_left_nothing_is_used_again() -> None:
    none = entry(2, CERTIFICATE, certified=False, turn=turn(2).id, attempt=1)
    entries = [*judged(turn(1), "promote"), evaluated(turn(2)), none, decided(turn(2), "keep")]
    assert before(entries, turn(3)) == Account(1, 6, used=FIRST, start=FIRST)


def test_a_test_on_the_gate_set_counts_and_lets_no_prompts_be_used_again() -> None:
    on_set = certificate(turn(2), about="gate_set")
    entries = [*judged(turn(1), "promote"), evaluated(turn(2)), on_set, decided(turn(2), "keep")]
    assert before(entries, turn(3)) == Account(2, 6, used=FIRST, start=FIRST)


def test_a_branch_inherits_what_its_campaign_had_used_also_in_later_rounds() -> None:
    parent = judged(turn(1), "keep") + judged(turn(2), "promote", prompts=1024)
    inherited = inheritable_account(parent, FIRST)
    assert inherited == InheritedAccount(decisions=2, planned=6, used=1024)
    shared = judged(turn(1), "keep")
    left = {"inherited": inherited, "left_after": 1}
    found = before(shared, turn(2), **left)
    assert found == Account(2, 6, used=1024, start=1024)
    own = [*shared, *judged(turn(2), "keep", start=1024)]
    assert before(own, turn(3), **left) == Account(3, 6, used=1280, start=1024)
    assert inheritable_account(own, FIRST, inherited, 1) == InheritedAccount(3, 6, 1280)


def test_decisions_beyond_the_plan_have_what_is_left() -> None:
    assert Account(5, 6).alpha(99, 0.05) == pytest.approx(0.045 / 6)
    assert Account(6, 6).alpha(99, 0.05) == pytest.approx(0.005 / 2)
    assert Account(7, 6).alpha(99, 0.05) == pytest.approx(0.005 / 6)
