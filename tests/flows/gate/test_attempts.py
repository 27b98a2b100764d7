"""Under which config a refused round is tried again."""

from typing import Any

import pytest

from dpo_core.errors import ConfigError
from flows.config import CampaignConfig, changes_of, under_attempt, validate

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
    assert under_attempt(tried, 1) is tried
    assert under_attempt(tried, 2).training.beta == 0.5
    third = under_attempt(tried, 3).training
    assert (third.beta, third.learning_rate) == (0.1, 5e-7), "the second's change is not kept"
    assert changes_of(tried, 1) == ()
    assert changes_of(tried, 2) == ("training.beta: 0.1 → 0.5",)


@pytest.mark.parametrize("times", ["2x", "2 ×", "2.0x"])
def test_times_what_the_config_has(times: str) -> None:
    more = under_attempt(config({"prompts.per_round": times, "training.beta": times}), 2)
    assert (more.prompts.per_round, more.training.beta) == (200, 0.2)


def test_an_impossible_combination_is_refused_as_a_whole() -> None:
    with pytest.raises(ConfigError, match="loss simpo compares with no reference"):
        under_attempt(config({"training.loss": "simpo", "training.reference": "base"}), 2)


def test_a_kl_budget_needs_kl() -> None:
    raw = {**RAW, "gate": {"kl_budget": 3}, "sampling": {"temperature": 0.7}}
    with pytest.raises(ConfigError, match=r"gate.kl_budget 3 needs the KL to the base"):
        validate(raw, "test")
