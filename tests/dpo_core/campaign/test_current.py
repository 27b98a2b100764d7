"""current.json names the versions that are valid now: a new version invalidates what came after."""

from pathlib import Path

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.current import read_current
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe, Store


def _run(store: Store, number: int, step: str, beta: float) -> str:
    return store.run(Recipe(number, step, {"beta": beta}), lambda folder: StepResult()).folder.name


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
    assert read_current(Layout(tmp_path)).rounds == expected


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
    assert read_current(Layout(tmp_path)).rounds == {"01": expected}


def test_a_step_that_the_config_no_longer_runs_is_not_valid(tmp_path: Path) -> None:
    """People are not asked any more: their labels are history, whatever else stays as it was."""
    store = Store(tmp_path, threads=1)
    for step in ("pairs", "judgements", "labels", "preferences", "gate"):
        _run(store, 1, step, beta=0.1)
    later = _run(store, 2, "pairs", beta=0.1)
    for beta in (0.1, 0.5):  # what follows may be the same, or another
        again = Store(tmp_path, threads=1)
        for step in ("pairs", "judgements"):
            _run(again, 1, step, beta=0.1)
        _run(again, 1, "preferences", beta)
        assert "labels" not in read_current(Layout(tmp_path)).rounds["01"]
        _run(again, 1, "gate", beta)
        assert list(read_current(Layout(tmp_path)).rounds["01"]) == [
            "pairs",
            "judgements",
            "preferences",
            "gate",
        ]
        if beta == 0.1:
            assert read_current(Layout(tmp_path)).rounds["02"] == {"pairs": later}


def test_the_last_steps_of_a_round_too(tmp_path: Path) -> None:
    """A regression suite that is no longer in the config, in round 0, which has no gate."""
    store = Store(tmp_path, threads=1)
    for step in ("base", "answers", "suite_sums", "suite_sums_scores"):
        _run(store, 0, step, beta=0.1)
    first = _run(store, 1, "pairs", beta=0.1)
    again = Store(tmp_path, threads=1)
    for step in ("base", "answers"):
        _run(again, 0, step, beta=0.1)
    again.settle(0)
    found = read_current(Layout(tmp_path)).rounds
    assert list(found["00"]) == ["base", "answers"] and found["01"] == {"pairs": first}


def test_a_step_that_runs_alone_leaves_the_others_valid(tmp_path: Path) -> None:
    """As `ratchet labels retract` aggregates a round anew and runs nothing else."""
    store = Store(tmp_path, threads=1)
    for step in ("pairs", "judgements", "preferences", "gate"):
        _run(store, 1, step, beta=0.1)
    alone = Store(tmp_path, threads=1)
    _run(alone, 1, "preferences", beta=0.1)
    assert len(read_current(Layout(tmp_path)).rounds["01"]) == 4
    _run(alone, 1, "preferences", beta=0.5)
    assert list(read_current(Layout(tmp_path)).rounds["01"]) == [
        "pairs",
        "judgements",
        "preferences",
    ]


def test_an_attempt_under_other_changes_begins_the_round_again(tmp_path: Path) -> None:
    store = Store(tmp_path, threads=1)
    for step in ("prompts", "pairs", "data", "training", "gate"):
        _run(store, 1, step, beta=0.1)
    for step, beta in (("prompts", 0.1), ("pairs", 0.1), ("training", 0.5), ("gate", 0.5)):
        _run(store, 1, step, beta)
    assert list(read_current(Layout(tmp_path)).rounds["01"]) == [
        "prompts",
        "pairs",
        "training",
        "gate",
    ]
