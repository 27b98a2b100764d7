"""Rounds 9/10, 99/100, 101 and 1,000: numbers decide, never how names compare."""

import json
from pathlib import Path

import pytest

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.branching import share
from dpo_core.campaign.current import read_current, valid_steps
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe, Store

EDGES = (9, 10, 11, 99, 100, 101, 999, 1000, 1001)


def run(store: Store, number: int, step: str = "training", beta: float = 0.1) -> Artifact:
    return store.run(Recipe(number, step, {"beta": beta}), lambda folder: StepResult())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "campaign", threads=1)
    for number in EDGES:
        run(store, number)
    return store


def numbers(layout: Layout) -> list[int]:
    return [int(name) for name in read_current(layout).rounds]


def test_every_round_stays_valid_in_the_order_of_numbers(store: Store) -> None:
    assert numbers(store.layout) == list(EDGES)
    for number in EDGES:
        made = current_artifact(store.layout, number, "training")
        assert made is not None and made.entry.round == number
        assert valid_steps(store.layout, number) == {"training": made.folder.name}


@pytest.mark.parametrize("changed", EDGES)
def test_a_round_made_anew_takes_later_numbers_with_it(store: Store, changed: int) -> None:
    run(store, changed, beta=0.5)
    assert numbers(store.layout) == [number for number in EDGES if number <= changed]
    again = Store(store.layout.root, threads=1)
    for number in EDGES:
        assert run(again, number).cached
    assert numbers(again.layout) == list(EDGES)


def test_what_an_earlier_version_dropped_comes_back_by_running(store: Store) -> None:
    layout = store.layout
    found = json.loads(layout.current.read_text(encoding="utf-8"))
    # Round 100's first step used to leave rounds 0 to 10 and 100 valid.
    found["rounds"] = {name: found["rounds"][name] for name in ("100", "09", "10")}
    del found["crc32"]  # earlier versions wrote none
    layout.current.write_text(json.dumps(found), encoding="utf-8")
    again = Store(layout.root, threads=1)
    for number in EDGES:
        assert run(again, number).cached
    assert numbers(layout) == list(EDGES)


@pytest.mark.parametrize("number", [9, 10, 99, 100, 101, 1000])
def test_a_branch_shares_the_rounds_up_to_its_number(
    store: Store, tmp_path: Path, number: int
) -> None:
    branch = Layout(tmp_path / "branch")
    share(store.layout, branch, number)
    assert numbers(branch) == [each for each in EDGES if each <= number]


def test_pruning_reaches_the_round_that_is_meant(store: Store) -> None:
    def weights(folder: Path) -> StepResult:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(b"w")
        return StepResult()

    made = {n: store.run(Recipe(n, "training", {"policy": 1}), weights) for n in EDGES}
    store.prune(made[100], "policy")
    assert [n for n in EDGES if not made[n].path("policy").exists()] == [100]
