"""What a round trains with, where the config leaves numbers open."""

from typing import Any

import pytest

from dpo_core.config import RESULT_NEUTRAL_KEYS, TrainingConfig
from flows.config.defaults import CHANGED
from flows.config.training import (
    LEARNING_RATES,
    TrainingSection,
    describe_chosen,
    learning_rate,
    pairs_per_step,
    resolve_training,
)
from flows.steps.train import training_recipe


@pytest.mark.parametrize(
    ("loss", "beta"),
    [("sigmoid", 0.1), ("ipo", 0.1), ("sigmoid_norm", 5), ("simpo", 2), ("sppo_hard", 0.001)],
)
def test_beta_is_that_of_the_loss(loss: Any, beta: float) -> None:
    assert TrainingSection(loss=loss).beta == beta
    assert TrainingSection(loss=loss, beta=0.3).beta == 0.3
    again = TrainingSection(loss=loss).model_dump(mode="json")
    assert TrainingSection.model_validate({**again, "loss": "sigmoid"}).beta == beta, "as stored"


@pytest.mark.parametrize(("size", "rate"), LEARNING_RATES)
def test_rates_at_the_sizes_that_have_sources(size: float, rate: float) -> None:
    assert learning_rate(int(size), adapters=False) == rate
    assert learning_rate(int(size), adapters=True) == pytest.approx(10 * rate)


def test_rates_between_and_beyond() -> None:
    """Half way in logarithms: the geometric mean of both."""
    size = round((135e6 * 7e9) ** 0.5)
    assert learning_rate(size, adapters=False) == pytest.approx((1e-5 * 5e-7) ** 0.5, rel=0.03)
    rates = [learning_rate(10**n, adapters=False) for n in range(4, 13)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == (2e-4, 5e-7)
    assert learning_rate(None, adapters=False) == 5e-7
    # Published: 1e-6 (SmolLM2, 1.7 B) and 2.5e-6 (OLMo 2, 1.5 B).
    assert 1e-6 < learning_rate(1_700_000_000, adapters=False) < 2.5e-6


@pytest.mark.parametrize(
    ("pairs", "epochs", "expected"),
    [(1, 1, 32), (1152, 1, 32), (1153, 1, 128), (195, 5, 128), (195, 4, 32)],
)
def test_large_steps_where_ten_are_left(pairs: int, epochs: int, expected: int) -> None:
    assert pairs_per_step(pairs, epochs) == expected


def numbers(config: TrainingConfig) -> tuple[float, int, int]:
    return config.learning_rate, config.warmup_steps, config.pairs_per_step


def test_what_is_left_open_is_chosen_and_said() -> None:
    asked = TrainingSection(loss="sigmoid_norm")
    found = resolve_training(asked, 195, 135_000_000)
    assert numbers(found) == (1e-5, 1, 32), "a tenth of seven steps"
    assert (found.beta, found.loss) == (5.0, "sigmoid_norm")
    assert describe_chosen(asked, found, 135_000_000) == (
        "learning rate 1e-05 for 135,000,000 parameters, 32 pairs per step, warm-up of 1 step, "
        "β 5 of loss sigmoid_norm"
    )
    assert numbers(resolve_training(asked, 20_000, 8_000_000_000)) == (5e-7, 16, 128)


def test_what_is_given_stays() -> None:
    asked = TrainingSection(learning_rate=3e-4, warmup_steps=0, pairs_per_step=7)
    found = resolve_training(asked, 5000)
    assert numbers(found) == (3e-4, 0, 7)
    assert describe_chosen(asked, found, None) == ""
    assert not asked.asks_for_parameters
    assert TrainingConfig.model_validate(asked.model_dump(exclude={"warmup_share"})) == found


def test_a_round_that_was_trained_before_keeps_its_fingerprint() -> None:
    """With the numbers of older defaults it depends on what it depended on: no key is new."""
    older = {key.rpartition(".")[2]: value for key, value in CHANGED[3].items()}
    numbers = {key: older[key] for key in ("learning_rate", "warmup_steps", "pairs_per_step")}
    before = TrainingConfig.model_validate(numbers).model_dump(
        mode="json", exclude={*RESULT_NEUTRAL_KEYS, "reference"}
    )
    assert training_recipe(TrainingSection.model_validate({**numbers, "beta": 0.1})) == before
    assert training_recipe(TrainingSection(warmup_share=0.1))["warmup_share"] == 0.1


def test_multiples_of_what_is_chosen() -> None:
    asked = TrainingSection(learning_rate="0.5x", pairs_per_step="2x", warmup_share=0.5)
    assert numbers(resolve_training(asked, 640, 7_000_000_000)) == (2.5e-7, 5, 64)
    assert resolve_training(TrainingSection(pairs_per_step="0.001x"), 640).pairs_per_step == 1


def test_the_share_of_the_warmup_is_of_all_epochs() -> None:
    steps = {"pairs_per_step": 10, "learning_rate": 1e-6}
    share = {**steps, "epochs": 3, "warmup_share": 0.1}
    assert resolve_training(TrainingSection.model_validate(share), 100).warmup_steps == 3, (
        "of 30, not 4"
    )
    assert resolve_training(
        TrainingSection.model_validate({**share, "warmup_share": 0}), 100
    ) == resolve_training(
        TrainingSection.model_validate({**steps, "epochs": 3, "warmup_steps": 0}), 100
    )
