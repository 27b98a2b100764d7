"""Whatever a loss is combined with: refused with a reason, or one function of the pairs.

For pairs longer than every window, loss and gradient depend neither on the order of pairs, nor on
micro-batches, nor on the number of processes, and are the same on the plain and the fast path.
"""

import logging
import pickle
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from dpo_core.children import Child
from dpo_core.config import TrainingConfig
from dpo_core.errors import BadInput
from dpo_core.training.checks import check_labels, check_loss

from .cases import LEVELS, Case, everything, pairwise, refusals
from .families import FAMILIES, build
from .one_step import one_step, pairs_for

ROOT = Path(__file__).parents[4]
WHOLE = 10**6  # tokens: all pairs go through the model at once

Step = tuple[str, float, Tensor]


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # every fallback to the plain path says so
    yield
    logging.disable(logging.NOTSET)
    torch.set_num_threads(before)


def refused(case: Case) -> str:
    """What the trainer says before it loads a model; empty where it would train."""
    try:
        config = TrainingConfig(**case.options())
        check_loss(config)
        check_labels(pairs_for(case) if case.soft else [], config.loss)
    except (ValidationError, BadInput) as error:
        return str(error)
    return ""


def meaningful(cases: Iterable[Case]) -> list[Case]:
    """Those that are not refused; the others are refused with the right words."""
    found = []
    for case in cases:
        message, expected = refused(case), refusals(case)
        assert bool(message) == bool(expected), (case, message)
        assert not expected or any(words in message for words in expected), (case, message)
        if not expected:
            found.append(case)
    return found


def alone(cases: Iterable[Case]) -> dict[Case, Step]:
    """Each case on the plain path in one batch, and the same however else one process does it."""
    models = {family: (build(family), build(family, seed=1)) for family in LEVELS["family"]}
    expected = {}
    for case in cases:
        model, other = models[case.family]

        def step(path: str, budget: int, seed: int) -> Step:
            return one_step(case, (model, None), other, path=path, budget=budget, seed=seed)  # noqa: B023

        expected[case] = step("plain", WHOLE, 0)
        for path in dict.fromkeys(["plain", FAMILIES[case.family][2]]):
            assert_same(case, step(path, 1, 1), expected[case])
    return expected


def assert_same(case: Case, found: Step, expected: Step) -> None:
    """Losses to 1e-5 of their size, gradients to 2e-4 of theirs: most differ by 1e-6, the steepest
    log-probs are 20 nats."""
    assert found[1] == pytest.approx(expected[1], rel=1e-5, abs=1e-5), case
    assert float((found[2] - expected[2]).norm() / expected[2].norm()) < 2e-4, case


def together(cases: list[Case], folder: Path) -> dict[Case, Step]:
    """What two processes find, which are started once."""
    (folder / "cases.pkl").write_bytes(pickle.dumps(cases))
    module = f"{'.'.join(Path(__file__).parent.relative_to(ROOT).parts)}.two_processes"
    env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def compute(rank: int) -> None:
        with Child.start(module, folder / f"{rank}.log", env) as child:
            child.ask({"rank": rank, "folder": str(folder)})

    with ThreadPoolExecutor(2) as both:
        list(both.map(compute, range(2)))
    found: dict[Case, Step] = torch.load(folder / "found.pt", weights_only=False)
    return found


def check(cases: Iterable[Case], folder: Path) -> None:
    cases = meaningful(cases)
    expected = alone(cases)
    found = together(cases, folder)
    for case in cases:
        assert found[case][0] == FAMILIES[case.family][2]
        assert_same(case, found[case], expected[case])


def test_every_two_options_of_a_loss_are_refused_together_or_one_function(tmp_path: Path) -> None:
    cases = pairwise()
    met = Counter((name, getattr(case, name)) for case in cases for name in LEVELS)
    assert all(met[name, value] for name, values in LEVELS.items() for value in values)
    check(cases, tmp_path)


def test_what_is_refused_is_what_has_no_meaning() -> None:
    """All combinations, asked of the config alone."""
    assert len(meaningful(everything())) > 500


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_combination_is_refused_or_one_function(family: str, tmp_path: Path) -> None:
    check(everything(family), tmp_path)
