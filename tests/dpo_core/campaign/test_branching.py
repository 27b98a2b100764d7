"""What a branch shares with its campaign on disk, on a campaign of files that mean nothing."""

import errno
import json
import os
from pathlib import Path

import pytest

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.branching import Origin, Stretch, read_origin, share, stretches, write_origin
from dpo_core.campaign.current import read_current
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.retractions import RETRACT
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import BadInput


def made(store: Store, number: int, step: str) -> Artifact:
    def make(folder: Path) -> StepResult:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_text(f"{number} {step}", encoding="utf-8")
        (folder / "rows").write_text(step, encoding="utf-8")
        return StepResult()

    return store.run(Recipe(number, step, {}), make)


@pytest.fixture
def parent(tmp_path: Path) -> Store:
    """Rounds 0 to 2 of two steps each, answers of people, and a retraction that holds in all."""
    store = Store(tmp_path / "parent", threads=1)
    for number in range(3):
        for step in ("training", "gate"):
            made(store, number, step)
    store.retract("human:ada", None, undo=False, by="bob@here")
    for number in (1, 2):
        store.layout.labels(number).parent.mkdir(exist_ok=True)
        store.layout.labels(number).write_text(f'{{"event": "{number}"}}\n', encoding="utf-8")
    return store


def test_shares_finished_files_and_copies_what_grows(parent: Store, tmp_path: Path) -> None:
    old, new = parent.layout, Layout(tmp_path / "new")
    share(old, new, 1)

    files = sorted(path.relative_to(new.root) for path in new.root.glob("rounds/**/*.*"))
    assert files == sorted(
        path.relative_to(old.root) for n in (0, 1) for path in old.round(n).glob("**/*.*")
    )
    for name in [*files, *(p.relative_to(new.root) for p in new.root.glob("rounds/*/*/policy/*"))]:
        shared, original = (new.root / name).stat(), (old.root / name).stat()
        assert (shared.st_ino, shared.st_nlink) == (original.st_ino, 2), name
    assert [(e.round, e.step) for e in Ledger(new.ledger).read()] == [
        (0, "training"),
        (0, "gate"),
        (1, "training"),
        (1, "gate"),
        (0, RETRACT),
    ]
    assert list(read_current(new).rounds) == ["00", "01"]
    assert new.labels(1).read_text(encoding="utf-8") == old.labels(1).read_text(encoding="utf-8")
    assert new.labels(1).stat().st_ino != old.labels(1).stat().st_ino
    assert not new.labels(2).exists()


def test_pruning_either_leaves_the_other_whole(parent: Store, tmp_path: Path) -> None:
    new = Layout(tmp_path / "new")
    share(parent.layout, new, 2)
    branch = Store(new.root, threads=1)
    mine, theirs = Recipe(1, "training", {}), Recipe(2, "training", {})

    def weights(store: Store, recipe: Recipe) -> Path:
        found = store.find(recipe)
        assert found is not None and found.cached
        return found.path("policy/weights")

    for store, recipe in ((parent, mine), (branch, theirs)):
        found = store.find(recipe)
        assert found is not None
        store.prune(found, "policy")
    assert not weights(parent, mine).exists() and weights(branch, mine).exists()
    assert weights(parent, theirs).exists() and not weights(branch, theirs).exists()


def test_what_was_pruned_before_is_no_fault(parent: Store, tmp_path: Path) -> None:
    pruned = parent.find(Recipe(1, "training", {}))
    assert pruned is not None
    parent.prune(pruned, "policy")
    share(parent.layout, Layout(tmp_path / "new"), 1)
    found = Store(tmp_path / "new", threads=1).find(Recipe(1, "training", {}))
    assert found is not None and not found.path("policy").exists()


def test_a_lost_file_is_named(parent: Store, tmp_path: Path) -> None:
    found = parent.find(Recipe(1, "gate", {}))
    assert found is not None
    found.path("rows").unlink()
    with pytest.raises(BadInput, match=r"gate-.*/rows is gone"):
        share(parent.layout, Layout(tmp_path / "new"), 1)


def test_says_where_no_hard_link_can_be(parent: Store, tmp_path: Path) -> None:
    def link(path: Path, new: Path) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    with pytest.raises(BadInput, match=r"cannot share .* Invalid cross-device link") as refused:
        share(parent.layout, Layout(tmp_path / "new"), 1, link)
    assert "--copy" in refused.value.remedy


def test_rounds_keep_the_configs_of_a_branch_of_a_branch(tmp_path: Path) -> None:
    first = stretches(None, {"beta": 1}, 2)
    assert first == (Stretch(2, {"beta": 1}),)
    origin = Origin("/parent", "parent", 2, ("beta: 1 → 2",), "ada@here", "2026", first)
    assert stretches(origin, {"beta": 2}, 4) == (*first, Stretch(4, {"beta": 2}))
    # Left within the rounds that it shares with its own parent, there is nothing of its own.
    assert stretches(origin, {"beta": 2}, 2) == first
    assert stretches(origin, {"beta": 2}, 1) == (Stretch(1, {"beta": 1}),)

    layout = Layout(tmp_path)
    assert read_origin(layout) is None
    write_origin(layout, origin)
    assert read_origin(layout) == origin
    assert [origin.config_of(number) for number in (0, 2, 3)] == [{"beta": 1}, {"beta": 1}, None]
    assert json.loads(layout.branch.read_text(encoding="utf-8"))["round"] == 2
