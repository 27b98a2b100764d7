"""The simulation of the certified gate: its parts by hand, and that it runs."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import certification
from benchmarks.certification import (
    KINDS,
    Kind,
    Prompts,
    at_least,
    cell,
    certified,
    clopper_pearson,
    fixed_sample,
    power_of,
)
from dpo_core.evaluation.certification import evidence


def test_the_exact_interval_of_a_share() -> None:
    # No hit in n: the upper end solves (1 − p)ⁿ = 0.025.
    low, high = clopper_pearson(0, 100)
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 100)))
    assert clopper_pearson(100, 100) == (pytest.approx(0.025 ** (1 / 100)), 1)
    low, high = clopper_pearson(10, 100)
    assert at_least(10, 100, low) == pytest.approx(0.025)
    assert 1 - at_least(11, 100, high) == pytest.approx(0.025)


def test_a_test_of_a_fixed_number_of_prompts() -> None:
    # Five wins of five have a chance of 1/32 under one half, four of four of 1/16.
    assert power_of(5, 0.9, 0.04) == pytest.approx(0.9**5)
    assert power_of(4, 0.9, 0.04) == 0
    assert fixed_sample(0.6, 0.015, 0.5) == pytest.approx(118, abs=10), "(2.17·½/0.1)²"


def test_the_table_of_wins_and_losses_is_the_test_itself() -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.choice([0.0, 0.5, 1.0, np.nan], size=(20, 300), p=[0.2, 0.3, 0.4, 0.1])
    for alpha in (0.3, 0.01):
        expected = [evidence(np.nan_to_num(row), 0.5).promotes(alpha) for row in outcomes]
        assert list(certified(outcomes, alpha, grouped=False)) == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_learns_nothing_wins_half_of_what_is_decided(kind: Kind) -> None:
    outcomes = Prompts(200, kind, np.random.default_rng(0)).outcomes(0.5)
    assert np.isnan(outcomes).mean() == pytest.approx(kind.undecided, abs=0.005)
    wanted = 0.5 if kind.at_threshold else 0.5 * (1 - kind.undecided)
    assert np.nan_to_num(outcomes).mean() == pytest.approx(wanted, abs=0.01)


def test_better_rounds_are_promoted_and_others_hardly_ever() -> None:
    found = cell(10, KINDS[0], 0, learns=True, seed=0)
    assert 10 <= found.better_rounds <= 30
    assert found.better_promoted >= found.better_rounds - 1
    assert found.false_certified <= 2 <= found.false_by_interval + 2


def test_it_runs_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(certification, "ROUNDS", 2)
    patch.setattr(certification, "RATES", (0.7,))
    with patch.context():
        certification.main(["--campaigns", "2", "--json", str(tmp_path / "found.json")])
    patch.undo()
    assert "highest share of campaigns with a false promotion" in capsys.readouterr().out
    assert (tmp_path / "found.json").exists()
