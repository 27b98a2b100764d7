"""The checks that every new campaign's gate makes, from numbers alone."""

from typing import Any

import pytest

from dpo_core.campaign.gate_record import GateCheck
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.errors import ConfigError
from dpo_core.gate.checks import values_to_try
from dpo_core.gate.config import GateConfig, gate_recipe
from dpo_core.gate.decision import Best, Decision, decide
from flows.config import validate
from flows.config.defaults import earlier_defaults

HEALTHY: dict[str, Any] = {
    "win_rate_gate": 0.61,
    "win_rate_gate_low": 0.55,
    "decided": {"gate": {"comparisons": 256, "decided": 250, "why": {"no score: too long": 6}}},
    "kl_base_nats": 9.0,
    "length_mean": 30.0,
    "length_mean_previous": 25.0,
    "length_mean_base": 20.0,
    "truncated_share": 0.02,
    "truncated_share_previous": 0.03,
    "truncated_share_base": 0.01,
    "token_repetition": 0.12,
    "token_repetition_previous": 0.11,
    "token_repetition_base": 0.1,
    "empty_share": 0.0,
    "empty_share_previous": 0.0,
}
"""Of a policy that is better and says as much as before."""


def decided(gate: dict[str, Any] | None = None, /, **numbers: Any) -> Decision:
    """Of a policy that is healthy but for `numbers`."""
    config = GateConfig.model_validate(gate or {})
    row = RoundMetrics.model_validate({"round": 1, **HEALTHY, **numbers})
    return decide(row, config, previous=0, best=Best(0, 0.5))


def failed(found: Decision) -> list[str]:
    return [check.name for check in found.checks if not check.passed]


def test_a_healthy_policy_passes_every_check_and_each_is_said() -> None:
    found = decided()
    assert found.promoted and failed(found) == []
    assert [(check.name, check.bound) for check in found.checks] == [
        ("win_rate_gate_low", 0.5),
        ("decided_share", 0.9),
        ("kl_base_nats", 10.0),  # half a nat for each of the base's 20 tokens
        ("length_to_previous", 2.0),
        ("length_to_base", 3.0),
        ("truncated_rise", 0.05),
        ("repetition_rise", 0.1),
        ("empty_share", 0.01),
    ]
    assert found.reasons[1:] == (
        "250 of 256 gate comparisons were decided, at least the required 90%",
        "KL to base 9.00 nats is within the budget of 10",
        "mean length 30.0 tokens is 1.20 times the last promoted policy's, within the allowed 0.5 "
        "to 2",
        "mean length 30.0 tokens is 1.50 times the base's, within the allowed 0.33 to 3",
        "truncated answers went from 1% to 2%, within the allowed rise of 5 points",
        "repeated token n-grams went from 10% to 12%, within the allowed rise of 10 points",
        "0% of answers are empty, within the allowed 1%",
    )
    assert found.sentence == (
        "promoted: lower bound 55% of the gate win rate (61%) is above the 50% threshold; 7 other "
        "checks passed"
    )
    assert Decision.from_json(found.as_json()) == found


def test_a_handful_of_decided_comparisons_promotes_nothing() -> None:
    why = {"no score: … tokens are more than the … that the judge's model takes": 251}
    few = {"gate": {"comparisons": 256, "decided": 5, "why": why}}
    found = decided(win_rate_gate=1.0, win_rate_gate_low=0.57, decided=few)
    assert (found.action, failed(found)) == ("keep", ["decided_share"])
    assert found.reasons == (
        "5 of 256 gate comparisons were decided, fewer than the required 90% (undecided because: "
        "no score: … tokens are more than the … that the judge's model takes: 251)",
    )
    assert failed(decided(decided={})) == ["decided_share"], "not known"
    nine = {"gate": {"comparisons": 10, "decided": 9}}
    assert decided(decided=nine).promoted, "at, not above"
    assert decided({"decided_share": None}, decided=few).promoted


def test_two_tokens_20_nats_away_that_won_everything() -> None:
    """As it was seen: the judge liked short answers, and the learning rate was 100."""
    found = decided(win_rate_gate=1.0, win_rate_gate_low=0.89, length_mean=2.0, kl_base_nats=20.0)
    assert failed(found) == ["kl_base_nats", "length_to_previous", "length_to_base"]
    assert found.sentence == (
        "not promoted, the base stays current: KL to base 20.00 nats exceeds the budget of 10; "
        "mean length 2.0 tokens is 0.08 times the last promoted policy's, outside the allowed 0.5 "
        "to 2; mean length 2.0 tokens is 0.10 times the base's, outside the allowed 0.33 to 3"
    )


def test_a_suite_that_can_hardly_be_scored_does_not_pass() -> None:
    suite = {"score": 0.9, "before": 0.9, "failed": False, "answers": 100, "compared": 3}
    found = decided(suites={"sums": suite})
    assert (found.action, failed(found)) == ("keep", ["suite sums decided_share"])
    assert found.reasons == (
        "3 of 100 answers to regression suite sums were scored for both policies, fewer than the "
        "required 90%",
    )
    assert decided(suites={"sums": {**suite, "compared": 90}}).promoted


def test_kl_is_limited_by_what_the_base_says() -> None:
    assert failed(decided(kl_base_nats=10.01)) == ["kl_base_nats"]
    assert decided({"kl_budget": None}, kl_base_nats=100.0).promoted
    assert failed(decided({"kl_budget": 3})) == ["kl_base_nats"]
    # Where it cannot be measured, auto limits nothing and says so; a number is not met.
    unknown = decided(kl_base_nats=None)
    assert unknown.promoted
    assert "gate.kl_budget auto has no effect" in unknown.reasons[-1]
    assert "gate.kl_budget auto has no effect" in unknown.sentence
    assert "kl_base_nats" not in [check.name for check in unknown.checks]
    assert failed(decided({"kl_budget": 3}, kl_base_nats=None)) == ["kl_base_nats"]


@pytest.mark.parametrize(
    ("length", "names"),
    [
        (12.5, []),
        (12.4, ["length_to_previous"]),
        (6.0, ["length_to_previous", "length_to_base"]),
        (50.0, []),
        (50.1, ["length_to_previous"]),
        (60.1, ["length_to_previous", "length_to_base"]),
        (None, ["length_to_previous", "length_to_base"]),
    ],
)
def test_lengths_stay_within_a_range_of_both(length: float | None, names: list[str]) -> None:
    assert failed(decided(length_mean=length)) == names
    off = {"length": None, "length_base": None}
    assert decided(off, length_mean=length).promoted


def test_small_drifts_add_up_against_the_base() -> None:
    shrunk = {"length_mean": 6.0, "length_mean_previous": 8.0}  # of the base's 20
    assert failed(decided(**shrunk)) == ["length_to_base"]
    crept = {"truncated_share": 0.07, "truncated_share_previous": 0.05}  # the base's was 0.01
    assert failed(decided(**crept)) == ["truncated_rise"]


def test_rises_count_from_the_lower_of_both() -> None:
    back = {"truncated_share": 0.4, "truncated_share_previous": 0.0, "truncated_share_base": 0.6}
    assert failed(decided(**back)) == ["truncated_rise"]
    exactly = {"truncated_share": 0.15, "truncated_share_previous": 0.1}
    assert decided(**exactly, truncated_share_base=0.1).promoted
    assert decided({"truncated_rise": None}, **back).promoted
    looped = {"token_repetition": 0.21}
    assert failed(decided(**looped)) == ["repetition_rise"]
    assert decided({"repetition_rise": None}, **looped).promoted
    assert failed(decided(truncated_share=None)) == ["truncated_rise"]


def test_empty_answers_may_not_be_more_than_the_last_policy_gave() -> None:
    assert failed(decided(empty_share=0.02)) == ["empty_share"]
    assert decided(empty_share=0.02, empty_share_previous=0.03).promoted
    assert failed(decided(empty_share=0.04, empty_share_previous=0.03)) == ["empty_share"]
    assert decided({"empty_share": None}, empty_share=1.0).promoted


def test_an_extrapolated_win_rate_does_not_pass_alone() -> None:
    gate = {"win_rate": "length_controlled"}
    numbers = {"lc_win_rate_gate": 0.8, "lc_win_rate_gate_low": 0.7}
    beaten = {"win_rate_gate": 0.45, "win_rate_gate_low": 0.4}
    assert decided(gate, **numbers, **beaten, lc_win_rate_gate_extrapolated=False).promoted
    found = decided(gate, **numbers, **beaten, lc_win_rate_gate_extrapolated=True)
    assert (found.action, failed(found)) == ("keep", ["win_rate_gate_low"])
    assert found.reasons == (
        "lower bound 40% of the gate win rate (45%) is not above the 50% threshold (checked too, "
        "because the length-controlled win rate is extrapolated)",
    )
    both = decided(gate, **numbers, lc_win_rate_gate_extrapolated=True)
    assert both.promoted and both.sentence.startswith(
        "promoted: lower bound 70% of the length-controlled gate win rate (80%, extrapolated) is ab"
    )
    lost = {"lc_win_rate_gate_low": 0.4, "lc_win_rate_gate_extrapolated": True}
    assert failed(decided(gate, **lost)) == ["lc_win_rate_gate_low"], "nor does the plain one"


def test_a_policy_that_is_too_far_gets_values_to_try() -> None:
    """Four times what is allowed: half the rate, twice β."""
    too_far = GateCheck("kl_base_nats", 4.0, 1.0, False)
    [said] = values_to_try([too_far], 2e-5, 0.1).values()
    assert "training.learning_rate 1e-05 (now 2e-05), or training.beta 0.2 (now 0.1)" in said
    assert values_to_try([GateCheck("kl_base_nats", 0.5, 1.0, True)], 2e-5, 0.1) == {}
    assert values_to_try([GateCheck("empty_share", 0.5, 0.1, False)], 2e-5, 0.1) == {}
    assert values_to_try([too_far], None, None) == {}, "an older round"


def test_the_gate_of_a_campaign_from_before_the_checks_is_what_it_was() -> None:
    gate = {key: value for key, value in earlier_defaults(1).items() if key.startswith("gate.")}
    old = {key.removeprefix("gate."): value for key, value in gate.items()}
    assert gate_recipe(GateConfig.model_validate(old)) == {
        "win_rate": "plain",
        "use": "lower",
        "threshold": 0.5,
        "kl_budget": None,
        "otherwise": "keep",
        "retry": None,
    }, "so the fingerprints of its gates are"
    assert [check.name for check in decided(old).checks] == ["win_rate_gate_low"]
    assert set(gate_recipe(GateConfig())) > {"decided_share", "length", "empty_share"}


def belongs(change: float, high: float, **base: float | None) -> dict[str, Any]:
    """Numbers of a policy of whose answers so many fewer belong to their requests."""
    of_previous = {"relevance": 0.9 + change, "relevance_previous": 0.9, "relevance_base": 0.9}
    for other in ("previous", "base"):
        of_previous[f"relevance_change_{other}"] = change
        of_previous[f"relevance_change_{other}_low"] = 2 * change - high
        of_previous[f"relevance_change_{other}_high"] = high
    return {**of_previous, **base}


def test_answers_may_not_cease_to_belong_to_their_requests() -> None:
    both = ["relevance_to_previous", "relevance_to_base"]
    assert failed(decided(**belongs(-0.094, -0.04))) == both
    assert failed(decided(**belongs(-0.05, -0.01))) == [], "it may fall by so much"
    assert failed(decided(**belongs(-0.2, 0.01))) == [], "answers are too few to know"
    assert failed(decided({"relevance_fall": 0.1}, **belongs(-0.094, -0.04))) == []
    assert failed(decided({"relevance_fall": None}, **belongs(-0.9, -0.8))) == []
    crept = belongs(-0.02, 0.01, relevance_change_base=-0.08, relevance_change_base_high=-0.02)
    assert failed(decided(**crept)) == ["relevance_to_base"]
    unknown = belongs(0.0, 0.1, relevance=None, relevance_change_previous=None)
    assert failed(decided(**unknown)) == ["relevance_to_previous"]


def test_what_a_fall_came_to_is_said() -> None:
    assert decided(**belongs(-0.094, -0.04)).reasons[0] == (
        "80.6% of answers match their prompts, vs. 90% for the last promoted policy: a fall of 9.4 "
        "points (CI 4 to 14.8), more than the allowed 5 points"
    )
    assert (
        "88% of answers match their prompts, vs. 90% for the base: no clear fall of more than 5 "
        "points"
    ) in decided(**belongs(-0.02, 0.01)).reasons


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"length": [2, 0.5]}, "gate.length must be [least, most] with 1 between the two"),
        ({"length": 2}, "gate.length must be [least, most]"),
        ({"length_base": [0.5, 0.9]}, "gate.length_base must be [least, most]"),
        ({"length": ["a", 2]}, "gate.length must be [least, most]"),
        ({"kl_budget": "none"}, "gate.kl_budget must be auto, a number of nats above 0, or null"),
        ({"kl_budget": -1}, "gate.kl_budget must be auto"),
        ({"decided_share": 0}, "gate.decided_share: Input should be greater than 0"),
        ({"empty_share": 1.5}, "gate.empty_share: Input should be less than or equal to 1"),
    ],
)
def test_bounds_that_cannot_be(gate: dict[str, Any], said: str) -> None:
    raw = {
        "name": "x",
        "policy": {"model": "m"},
        "prompts": {"function": "a:b"},
        "judge": {"function": "a:b"},
    }
    with pytest.raises(ConfigError) as found:
        validate({**raw, "gate": gate}, "x.yaml")
    assert said in str(found.value)
    assert str(found.value).count("gate.") == 1, "one sentence"
