"""Ratios of sums, by hand."""

import math

import pytest

from dpo_core.evaluation.ratios import ratio


def test_a_ratio_of_sums_with_its_linearised_error() -> None:
    """Groups p: 3 of 4, q: 1 of 4; r = 4/8 and the residuals are +1 and −1, so that the error is
    √(2·2)/8; t(0.975, 1) = 12.706."""
    found = ratio([1, 2, 1], [1, 3, 4], groups=["p", "p", "q"])
    assert found.interval.estimate == 0.5
    assert found.error == pytest.approx(math.sqrt(2 / 1 * (1 + 1)) / 8)
    assert found.interval.high - 0.5 == pytest.approx(12.706 * found.error, rel=1e-4)


def test_denominators_of_one_make_it_a_mean() -> None:
    values = [0.2, 0.5, -0.1]
    found = ratio(values, [1, 1, 1])
    variance = (0**2 + 0.3**2 + 0.3**2) / 2
    assert found.error == pytest.approx(math.sqrt(variance / 3))


def test_one_group_has_no_error() -> None:
    assert math.isnan(ratio([1.0, 2.0], [2, 2], groups=["p", "p"]).error)


@pytest.mark.parametrize(("top", "below"), [([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0])])
def test_what_is_no_ratio_is_refused(top: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^expected"):
        ratio(top, below)
