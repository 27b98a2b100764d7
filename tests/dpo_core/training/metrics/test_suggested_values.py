"""Values to try, from how far off a round was."""

import pytest

from dpo_core.training.metrics.suggested_values import (
    suggest_higher_beta,
    suggest_higher_rate,
    suggest_lower_rate,
)


@pytest.mark.parametrize(
    ("rate", "spread", "expected"),
    [
        (5e-7, 0.01, 5e-6),  # a tenth of the wanted spread: ten times
        (5e-7, 0.005, 1e-5),
        (3e-7, 0.01, 5e-6),  # 3e-6 is between: the next
        (1e-12, 0.0, 1e-10),  # no more than a hundredfold
        (1e-6, 1e-9, 1e-4),
    ],
)
def test_a_rate_that_moves(rate: float, spread: float, expected: float) -> None:
    assert suggest_higher_rate(rate, spread) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rate", "moved", "expected"),
    [
        (2e-5, 4.0, 1e-5),  # four times too far: half the rate
        (2e-5, 1.1, 1e-5),  # never less than twofold
        (2e-5, 25.0, 2e-6),  # 4e-6 is between: the one before
        (1e-4, 1e6, 1e-5),  # never more than tenfold
    ],
)
def test_a_rate_within_a_budget_of_one(rate: float, moved: float, expected: float) -> None:
    assert suggest_lower_rate(rate, moved, 1.0) == pytest.approx(expected)
    assert suggest_lower_rate(rate, 7 * moved, 7.0) == pytest.approx(expected), "shares count"


@pytest.mark.parametrize(
    ("beta", "moved", "expected"),
    [(0.1, 4.0, 0.2), (0.1, 9.0, 0.5), (0.1, 1e6, 1.0), (5.0, 4.0, 10.0), (0.001, 25.0, 0.005)],
)
def test_a_beta_within_a_budget_of_one(beta: float, moved: float, expected: float) -> None:
    assert suggest_higher_beta(beta, moved, 1.0) == pytest.approx(expected)
