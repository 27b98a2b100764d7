"""current.json names the versions that are valid now: a new version invalidates what came after."""

from pathlib import Path

from dpo_core.campaign.current import read_current
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Made, Recipe, Store


def _run(store: Store, number: int, step: str, beta: float) -> str:
    return store.run(Recipe(number, step, {"beta": beta}), lambda folder: Made()).folder.name


def test_new_version_invalidates_later_steps_and_rounds(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    for number in (1, 2):
        for step in ("pairs", "training", "gate"):
            _run(store, number, step, beta=0.1)
    pairs = Recipe(1, "pairs", {"beta": 0.1})
    changed = _run(store, 1, "training", beta=0.5)
    expected = {
        "01": {"pairs": store.layout.step(1, "pairs", pairs.fingerprint).name, "training": changed}
    }
    assert read_current(Layout(tmp_path))["rounds"] == expected


def test_same_version_invalidates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    for step in ("pairs", "training"):
        _run(store, 1, step, beta=0.1)
    before = read_current(Layout(tmp_path))
    _run(Store(tmp_path, threads=1), 1, "pairs", beta=0.1)
    assert read_current(Layout(tmp_path)) == before


def test_a_step_that_comes_in_between_stays_valid(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    for step in ("pairs", "training", "gate"):
        _run(store, 1, step, beta=0.1)
    again = Store(tmp_path, threads=1)
    pairs = _run(again, 1, "pairs", beta=0.1)
    added = _run(again, 1, "reference", beta=0.1)
    changed = _run(again, 1, "training", beta=0.5)
    expected = {"pairs": pairs, "reference": added, "training": changed}
    assert read_current(Layout(tmp_path))["rounds"] == {"01": expected}
