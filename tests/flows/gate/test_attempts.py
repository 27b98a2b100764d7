"""Under which config a refused round is tried again, and where a rollback goes."""

from pathlib import Path
from typing import Any

import pytest

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.rollbacks import Rollback
from dpo_core.errors import ConfigError
from flows.config import CampaignConfig, config_of_attempt, describe_attempt, validate
from flows.gate.attempts import find_best_policy
from flows.round_state import EvaluatedPolicy, Policy, RoundRecord

RAW: dict[str, Any] = {
    "name": "tried",
    "policy": {"build": "m:f"},
    "prompts": {"path": "p.jsonl", "per_round": 100},
    "judge": {"function": "m:f"},
    "training": {"beta": 0.1, "learning_rate": 1e-6},
}


def config(*changes: dict[str, Any]) -> CampaignConfig:
    gate = {"otherwise": "retry", "retry": {"changes": list(changes)}}
    return validate({**RAW, "gate": gate}, "test")


def test_each_attempt_changes_the_campaigns_own_config() -> None:
    tried = config({"training.beta": 0.5}, {"training.learning_rate": "0.5x"})
    assert config_of_attempt(tried, 1) is tried
    assert config_of_attempt(tried, 2).training.beta == 0.5
    third = config_of_attempt(tried, 3).training
    assert (third.beta, third.learning_rate) == (0.1, 5e-7), "the second's change is not kept"
    assert describe_attempt(tried, 1) == ()
    assert describe_attempt(tried, 2) == ("training.beta: 0.1 → 0.5",)


@pytest.mark.parametrize("times", ["2x", "2 ×", "2.0x"])
def test_times_what_the_config_has(times: str) -> None:
    more = config_of_attempt(config({"prompts.per_round": times, "training.beta": times}), 2)
    assert (more.prompts.per_round, more.training.beta) == (200, 0.2)


def test_times_what_is_chosen() -> None:
    left_open = {**RAW, "training": {}}
    changes = [{"training.learning_rate": "0.5x", "training.pairs_per_step": "2 x"}]
    gate = {"otherwise": "retry", "retry": {"changes": changes}}
    tried = config_of_attempt(validate({**left_open, "gate": gate}, "test"), 2).training
    assert (tried.learning_rate, tried.pairs_per_step) == ("0.5x", "2x")
    halved = validate({**RAW, "training": {"learning_rate": "0.5x"}, "gate": gate}, "test")
    assert config_of_attempt(halved, 2).training.learning_rate == "0.25x"


def test_an_impossible_combination_is_refused_as_a_whole() -> None:
    with pytest.raises(ConfigError, match="loss simpo uses no reference"):
        config_of_attempt(config({"training.loss": "simpo", "training.reference": "base"}), 2)


def test_a_kl_budget_needs_kl() -> None:
    raw = {**RAW, "gate": {"kl_budget": 3}, "sampling": {"temperature": 0.7}}
    with pytest.raises(ConfigError, match=r"gate.kl_budget 3 needs the KL to the base"):
        validate(raw, "test")


def played(number: int, low: float, promoted: bool = True, **facts: Any) -> RoundRecord:
    told = {"against_base_low": low, "promoted": promoted, **facts}
    entry = Entry(number, "gate", "f", facts=told)
    gate = Artifact(Path("gate"), entry, cached=True)
    return RoundRecord({}, None, answered(number), gate)


def answered(number: int) -> EvaluatedPolicy:
    made = Artifact(Path("step"), Entry(number, "training", "f"), cached=True)
    return EvaluatedPolicy(Policy(number, f"policy {number}", Path("policy"), made), made, None)


def best(earlier: list[RoundRecord], *people: tuple[int, int]) -> int:
    words = [Rollback(after, to, "me", "", "") for after, to in people]
    found = find_best_policy(answered(0), earlier, words)
    assert found.evaluated.policy.round == found.best.round
    return found.best.round


def test_the_gate_never_brings_back_what_a_person_went_back_before() -> None:
    rounds = [played(1, 0.55), played(2, 0.9), played(3, 0.95)]
    assert best(rounds) == 3
    assert best(rounds, (3, 1)) == 1
    assert best(rounds, (3, 0)) == 0
    assert best(rounds, (3, 2)) == 2
    later = [*rounds, played(4, 0.6), played(5, 0.58)]
    assert best(later, (3, 1)) == 4
    assert best(later, (3, 1), (5, 0)) == 0
    assert best(later, (3, 1), (5, 2)) == 2, "a later word chose it after all"
    assert best(rounds[:2], (3, 1)) == 2, "what is said of later rounds says nothing here"


def test_a_policy_that_a_person_went_back_to_stands_as_a_promoted_one() -> None:
    rounds = [played(1, 0.55), played(2, 0.6, promoted=False), played(3, 0.95)]
    assert best(rounds, (3, 2)) == 2
    assert best([*rounds, played(4, 0.5)], (3, 2), (4, 1)) == 1


def test_a_rollback_does_not_go_by_a_win_rate_that_is_extrapolated() -> None:
    def controlled(number: int, low: float, plain: float, extrapolated: bool) -> RoundRecord:
        told = {"against_base_low_plain": plain, "against_base_extrapolated": extrapolated}
        return played(number, low, **told)

    short = controlled(2, 0.9, 0.55, True)  # of which it is said that it wins at equal length
    assert best([controlled(1, 0.6, 0.7, False), short]) == 1
    assert best([controlled(1, 0.6, 0.52, False), short]) == 2, "0.6 is no plain win rate"
    assert best([controlled(1, 0.6, 0.7, False), controlled(2, 0.65, 0.55, False)]) == 2
    assert best([controlled(1, 0.9, 0.45, True)]) == 0
