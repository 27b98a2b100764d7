"""What the gate decides, from numbers alone."""

from typing import Any

import pytest

from dpo_core.campaign.gate_record import PersonsDecision
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.step_facts import CertificateFacts
from dpo_core.gate.checks import certificate_checks
from dpo_core.gate.config import GateConfig
from dpo_core.gate.decision import Best, Decision, apply_answer, decide, find_best
from flows.config.defaults import earlier_defaults

BEATEN = {"win_rate_gate": 0.44, "win_rate_gate_low": 0.38}
BETTER = {"win_rate_gate": 0.61, "win_rate_gate_low": 0.55}
UNSURE = {"win_rate_gate": 0.54, "win_rate_gate_low": 0.48}
OTHERS_OFF = {
    key.removeprefix("gate."): old
    for key, old in earlier_defaults(1).items()
    if key.startswith("gate.")
}
"""Without the checks of test_checks.py."""
RETRY = {
    "otherwise": "retry",
    "retry": {"changes": [{"training.beta": "2x"}, {"training.learning_rate": 1e-4}]},
}


def decided(
    numbers: dict[str, Any],
    attempt: int = 1,
    certificate: CertificateFacts | None = None,
    **gate: Any,
) -> Decision:
    """Of round 3, which began at round 1; the best so far is round 1."""
    config = GateConfig.model_validate({**OTHERS_OFF, **gate})
    best = Best(1, 0.57)
    test = certificate or CertificateFacts()
    return decide(
        RoundMetrics.model_validate({"round": 3, **numbers}),
        config,
        previous=1,
        best=best,
        attempt=attempt,
        certified=test.certified,
        more=list(certificate_checks(test)),
    )


def certificate(passed: bool) -> CertificateFacts:
    evidence = {"log_e": 4.31 if passed else 1.2, "needed": 4.2, "units": 256, "reached_at": 211}
    return CertificateFacts(certified=True, passed=passed, decision=2, planned=3, **evidence)


def test_a_certificate_counts_groups_where_they_stay_together() -> None:
    [(_, sentence)] = certificate_checks(certificate(False), groups=True)
    assert "after 256 groups of gate prompts does not reach" in sentence
    alone = certificate(False).model_copy(update={"about": "gate_set"})
    [(_, sentence)] = certificate_checks(alone, groups=True)
    assert "after 256 prompts of the gate set alone does not reach" in sentence


def test_a_certificate_decides_in_place_of_the_interval() -> None:
    found = decided(UNSURE, certificate=certificate(True))
    assert found.sentence == (
        "promoted: evidence 4.31 nats after 211 gate prompts reaches the 4.20 required for "
        "decision 2 of 3"
    )
    found = decided(BETTER, certificate=certificate(False))
    assert found.action == "keep"
    assert found.reasons == (
        "evidence 1.20 nats after 256 gate prompts does not reach the 4.20 required for decision "
        "2 of 3",
    )
    assert decided(BETTER, certificate=CertificateFacts(certified=False)).action == "promote", (
        "none was left"
    )


def test_length_controlled_is_an_extra_check_beside_a_certificate() -> None:
    controlled = {"lc_win_rate_gate_low": 0.49}
    found = decided({**BETTER, **controlled}, win_rate="length_controlled")
    assert found.action == "keep"
    numbers, with_it = {**BETTER, **controlled}, {"certificate": certificate(True)}
    assert decided(numbers, win_rate="length_controlled", **with_it).action == "keep"
    assert decided(numbers, **with_it).action == "promote"


def test_the_lower_end_decides_unless_the_estimate_is_asked_for() -> None:
    assert decided(UNSURE).action == "keep"
    assert decided(UNSURE, use="estimate").action == "promote"
    assert decided(BETTER).action == "promote"
    assert decided(BETTER, threshold=0.55).action == "keep", "above, not at"
    assert decided(BETTER).sentence == (
        "promoted: lower bound 55% of the gate win rate (61%) is above the 50% threshold"
    )
    assert decided(UNSURE).sentence == (
        "not promoted, round 1 stays current: lower bound 48% of the gate win rate (54%) is not "
        "above the 50% threshold"
    )
    assert (decided(BETTER).goes_on_from, decided(UNSURE).goes_on_from) == (3, 1)


def test_the_length_controlled_rate_may_decide() -> None:
    numbers = {**BETTER, "lc_win_rate_gate": 0.52, "lc_win_rate_gate_low": 0.47}
    found = decided(numbers, win_rate="length_controlled")
    assert found.action == "keep"
    assert found.checks[0].name == "lc_win_rate_gate_low"
    assert "lower bound 47% of the length-controlled gate win rate (52%)" in found.sentence


def test_nothing_that_was_not_measured_passes() -> None:
    assert decided({"win_rate_gate_low": None}).action == "keep"
    assert "no gate comparison could be read" in decided({}).sentence
    found = decided({**BETTER, "kl_base_nats": None}, kl_budget=4)
    assert found.action == "keep"
    assert [(check.value, check.passed) for check in found.checks] == [(0.55, True), (None, False)]


def test_the_kl_budget_is_cumulative_and_inclusive() -> None:
    assert decided({**BETTER, "kl_base_nats": 4.0}, kl_budget=4).action == "promote"
    found = decided({**BETTER, "kl_base_nats": 4.01}, kl_budget=4)
    assert found.reasons == ("KL to base 4.01 nats exceeds the budget of 4",)
    assert decided({**BETTER, "kl_base_nats": 400.0}).action == "promote", "no budget"


def test_a_regression_suite_that_fell_refuses() -> None:
    suites = {
        "arithmetic": {"score": 0.71, "before": 0.9, "failed": True},
        "manners": {"score": 0.8, "before": 0.8, "failed": False},
    }
    found = decided({**BETTER, "suites": suites})
    assert found.action == "keep"
    assert found.reasons == ("regression suite arithmetic fell from 0.900 to 0.710",)
    assert [(c.name, c.passed) for c in found.checks[1:]] == [
        ("suite arithmetic", False),
        ("suite manners", True),
    ]


@pytest.mark.parametrize(
    ("otherwise", "goes_on_from", "said"),
    [
        ("keep", 1, "not promoted, round 1 stays current: lower bound"),
        ("stop", 1, "not promoted, campaign ended, round 1 stays current: lower"),
        ("ask", 1, "needs your decision: lower bound"),
        ("rollback", 2, "not promoted, rolled back to round 2: lower bound"),
    ],
)
def test_what_happens_otherwise(otherwise: str, goes_on_from: int, said: str) -> None:
    config = GateConfig.model_validate({**OTHERS_OFF, "otherwise": otherwise})
    numbers = RoundMetrics(round=4, **BEATEN)
    found = decide(numbers, config, previous=1, best=Best(2, 0.612))
    assert (found.action, found.goes_on_from) == (otherwise, goes_on_from)
    assert found.sentence.startswith(said)
    best = "round 2 is the best so far, with lower bound 61.2% of its win rate vs. base on gate"
    assert (best in found.sentence) == (otherwise == "rollback")
    assert Decision.from_json(found.as_json()) == found


def test_attempts_are_made_as_listed_and_then_comes_what_then_says() -> None:
    actions = [decided(BEATEN, attempt, **RETRY).action for attempt in (1, 2, 3)]
    assert actions == ["retry", "retry", "keep"]
    assert "attempt 2 of 3 follows with training.beta: 2x" in decided(BEATEN, **RETRY).sentence
    last = decided(BEATEN, 3, otherwise="retry", retry={**RETRY["retry"], "then": "rollback"})
    assert last.action == "rollback"
    assert last.reasons[1] == "attempt 3 of 3"
    once = {**RETRY, "retry": {**RETRY["retry"], "attempts": 1}}
    assert [decided(BEATEN, attempt, **once).action for attempt in (1, 2)] == ["retry", "keep"]
    assert decided(BETTER, 2, **RETRY).action == "promote"


def test_a_retried_attempt_keeps_its_sentence() -> None:
    """The sentence is in the recipe of the next attempt's gate step: another wording would run
    finished rounds of earlier versions again."""
    recorded = {**decided(BEATEN, **RETRY).as_json(), "reasons": ["a reason", "attempt 2 follows"]}
    sentence = Decision.from_json(recorded).sentence
    assert sentence == "refused and tried again: a reason; attempt 2 follows"


def test_a_persons_word_stands_with_name_and_time() -> None:
    asked = decided(UNSURE, otherwise="ask")
    yes = apply_answer(
        asked, PersonsDecision(True, "they read well", "anna", "2026-01-02T03:04:05+00:00"), 3
    )
    assert (yes.action, yes.goes_on_from) == ("promote", 3)
    assert yes.sentence == "promoted: decided by anna on 2026-01-02 03:04 UTC (they read well)"
    assert yes.reasons[1:] == asked.reasons
    no = apply_answer(asked, PersonsDecision(False, "", "anna", "2026-01-02T03:04:05+00:00"), 3)
    assert (no.action, no.goes_on_from) == ("keep", 1)


def test_the_best_is_the_base_until_a_round_is_clearly_better() -> None:
    assert find_best([]) == Best(0, 0.5)
    assert find_best([(1, 0.49), (2, None)]) == Best(0, 0.5)
    assert find_best([(1, 0.6), (3, 0.7), (4, 0.7), (5, 0.65)]) == Best(3, 0.7)
