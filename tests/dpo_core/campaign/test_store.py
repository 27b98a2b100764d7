"""The store: a step is made once, is never half there, and is made again when it must be."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.current import Current, PromotedPolicy, read_current
from dpo_core.campaign.layout import MANIFEST, SHARDS, Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.step_facts import SampledFacts
from dpo_core.campaign.store import Recipe, ReplacedAttempt, Store
from dpo_core.errors import ArtifactCorrupted, DiskFull

RECIPE = Recipe(
    1, "scores", {"judge": {"kind": "rule"}, "seed": 3}, {"completions": "c0ffee"}, {"m:f": "5eed"}
)
MADE = StepResult(
    came_in=5, kept=3, dropped={"abstained": 2}, facts=SampledFacts(tokens=7), versions={"v": "1"}
)


class Maker:
    """Writes two files into a step's folder and counts how often it was asked."""

    def __init__(self, text: str = "rows") -> None:
        self.text = text
        self.calls = 0

    def __call__(self, folder: Path) -> StepResult:
        self.calls += 1
        (folder / "scores.parquet").write_text(self.text)
        (folder / "policy").mkdir(exist_ok=True)
        (folder / "policy" / "model.safetensors").write_text("weights")
        return MADE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "campaign"


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_step_is_made_once_and_its_line_says_everything(root: Path) -> None:
    make = Maker()
    first = Store(root, threads=2).run(RECIPE, make)
    folder = root / "rounds" / "01" / f"scores-{RECIPE.fingerprint[:8]}"
    assert (first.folder, first.cached, make.calls) == (folder, False, 1)
    (entry,) = Ledger(Layout(root).ledger).read()
    assert entry == first.entry
    assert (entry.round, entry.step, entry.fingerprint) == (1, "scores", RECIPE.fingerprint)
    assert entry.inputs == {"completions": "c0ffee"}
    assert set(entry.outputs) == {"scores.parquet", "policy/model.safetensors"}
    assert (entry.came_in, entry.kept, entry.dropped) == (5, 3, {"abstained": 2})
    assert (entry.facts, entry.versions, entry.threads) == ({"tokens": 7}, {"v": "1"}, 2)
    assert entry.at.endswith("+00:00")

    before = tree(root)
    for store in (Store(root, threads=2), Store(root, threads=2)):
        again = store.run(RECIPE, make)
        assert again == replace(first, cached=True)
    assert make.calls == 1
    assert tree(root) == before


CHANGES: dict[str, Callable[[Recipe], Recipe]] = {
    "step": lambda r: replace(r, step="answer_scores"),
    "config value": lambda r: replace(r, config={**r.config, "seed": 4}),
    "config below": lambda r: replace(r, config={**r.config, "judge": {"kind": "model"}}),
    "config key": lambda r: replace(r, config={**r.config, "new": None}),
    "input hash": lambda r: replace(r, inputs={"completions": "decaf"}),
    "input name": lambda r: replace(r, inputs={"answers": "c0ffee"}),
    "input more": lambda r: replace(r, inputs={**r.inputs, "prompts": "1"}),
    "function source": lambda r: replace(r, functions={"m:f": "0"}),
    "function name": lambda r: replace(r, functions={"m:g": "5eed"}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_step_depends_on_makes_it_anew_beside_the_old(
    root: Path, change: Callable[[Recipe], Recipe]
) -> None:
    make = Maker()
    store = Store(root, threads=1)
    old = store.run(RECIPE, make)
    before = tree(old.folder)
    new = store.run(change(RECIPE), make)
    assert make.calls == 2
    assert new.folder != old.folder
    assert tree(old.folder) == before  # nothing is overwritten
    assert store.run(RECIPE, make).cached  # and the old one is still valid


def test_a_step_of_an_older_version_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_core.campaign.store.VERSION", "0.1.0.dev0")
    make = Maker()
    old = Store(root, threads=1).run(RECIPE, make)
    monkeypatch.setattr("dpo_core.campaign.store.VERSION", "0.2.0")
    assert Store(root, threads=1).run(RECIPE, make) == replace(old, cached=True)
    assert (make.calls, old.entry.ratchet) == (1, "0.1.0.dev0")


def test_the_order_of_keys_changes_nothing() -> None:
    other = Recipe(
        1, "scores", {"seed": 3, "judge": {"kind": "rule"}}, RECIPE.inputs, {"m:f": "5eed"}
    )
    assert other.fingerprint == RECIPE.fingerprint


def test_the_same_recipe_in_another_round_is_another_step(root: Path) -> None:
    store, make = Store(root, threads=1), Maker()
    folders = {store.run(replace(RECIPE, round=number), make).folder for number in (1, 2)}
    assert len(folders) == 2 and make.calls == 2


def test_current_points_to_what_is_valid_now(root: Path) -> None:
    store, layout = Store(root, threads=1), Layout(root)
    assert current_artifact(layout, 1, "scores") is None
    old = store.run(RECIPE, Maker())
    new = store.run(replace(RECIPE, config={}), Maker())
    assert current_artifact(layout, 1, "scores") == replace(new, cached=True)
    store.run(RECIPE, Maker())
    assert current_artifact(layout, 1, "scores") == replace(old, cached=True)
    store.remember("promoted", PromotedPolicy(1))
    assert read_current(layout).promoted == PromotedPolicy(1)
    assert read_current(layout).rounds == {"01": {"scores": old.folder.name}}


class Crash(BaseException):
    """A process that ends here."""


def crash(*args: Any, **kwargs: Any) -> None:
    raise Crash


def test_a_crash_between_rename_and_ledger_is_healed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "append", crash)
        with pytest.raises(Crash):
            Store(root, threads=1).run(RECIPE, make)
    assert Ledger(Layout(root).ledger).read() == []
    adopted = Store(root, threads=1).run(RECIPE, make)
    assert adopted.cached and make.calls == 1
    assert Ledger(Layout(root).ledger).read() == [adopted.entry]
    assert current_artifact(Layout(root), 1, "scores") == adopted


def test_a_crash_after_the_ledger_line_is_healed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker()
    with monkeypatch.context() as patched:
        patched.setattr(Current, "remember", crash)
        with pytest.raises(Crash):
            Store(root, threads=1).run(RECIPE, make)
    assert Store(root, threads=1).run(RECIPE, make).cached
    assert len(Ledger(Layout(root).ledger).read()) == 1
    assert current_artifact(Layout(root), 1, "scores") is not None


@pytest.mark.parametrize("at", ["make", "rename"])
def test_a_crash_before_the_rename_leaves_no_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    seen: list[list[str]] = []

    def make(folder: Path) -> StepResult:
        seen.append(sorted(path.name for path in folder.iterdir()))
        if len(seen) == 1:
            (folder / SHARDS).mkdir()
            (folder / SHARDS / "0").write_text("whole")
            (folder / ".half.tmp").write_text("half")
            (folder / ".build-1").mkdir()
            if at == "make":
                raise Crash
        (folder / "out").write_text("whole")
        return MADE

    with monkeypatch.context() as patched:
        if at == "rename":
            patched.setattr(os, "rename", crash)
        with pytest.raises(Crash):
            Store(root, threads=1).run(RECIPE, make)
    assert Store(root, threads=1).find(RECIPE) is None
    artifact = Store(root, threads=1).run(RECIPE, make)
    # Shards need not be made again; anything else would become an output of the second attempt.
    assert seen[1] == [SHARDS]
    assert artifact.entry.outputs.keys() == {"out", f"{SHARDS}/0"}
    assert list(artifact.folder.parent.glob(".*")) == []


def test_unfinished_attempts_at_other_recipes_are_removed(root: Path) -> None:
    layout, store = Layout(root), Store(root, threads=1)
    stale = layout.partial(1, "scores", "0123456789")
    others = [layout.partial(1, "pairs", "0123456789"), layout.partial(2, "scores", "0123456789")]
    for folder in (stale, *others):
        folder.mkdir(parents=True)
        (folder / "half").write_text("…")
    store.run(RECIPE, Maker())
    assert not stale.exists()
    assert all(folder.exists() for folder in others)


def test_an_error_while_making_leaves_the_ledger_alone(root: Path) -> None:
    def make(folder: Path) -> StepResult:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Store(root, threads=1).run(RECIPE, make)
    assert Store(root, threads=1).find(RECIPE) is None


def spoil_content(artifact: Artifact) -> None:
    artifact.path("scores.parquet").write_text("r0ws")


def spoil_absence(artifact: Artifact) -> None:
    artifact.path("policy/model.safetensors").unlink()


@pytest.mark.parametrize("spoil", [spoil_content, spoil_absence])
def test_a_changed_output_is_refused_and_the_remedy_works(
    root: Path, spoil: Callable[[Artifact], None]
) -> None:
    make = Maker()
    made = Store(root, threads=1).run(RECIPE, make)
    spoil(made)
    with pytest.raises(ArtifactCorrupted, match="is not what the ledger recorded") as caught:
        Store(root, threads=1).run(RECIPE, make)
    assert make.calls == 1  # never silently made again over the evidence
    _, source, target = caught.value.remedy.partition("(")[2].partition(")")[0].split()
    os.rename(source, target)
    assert not Store(root, threads=1).run(RECIPE, make).cached
    assert make.calls == 2


def test_a_corrupted_step_is_not_adopted(root: Path) -> None:
    make = Maker()
    made = Store(root, threads=1).run(RECIPE, make)
    Layout(root).ledger.unlink()
    spoil_content(made)
    with pytest.raises(ArtifactCorrupted):
        Store(root, threads=1).run(RECIPE, make)


def test_a_lost_ledger_is_rebuilt_from_the_manifests(root: Path) -> None:
    make = Maker()
    made = Store(root, threads=1).run(RECIPE, make)
    line = Layout(root).ledger.read_bytes()
    Layout(root).ledger.unlink()
    assert Store(root, threads=1).run(RECIPE, make) == replace(made, cached=True)
    assert Layout(root).ledger.read_bytes() == line


def test_a_folder_without_its_manifest_is_not_overwritten(root: Path) -> None:
    make = Maker()
    made = Store(root, threads=1).run(RECIPE, make)
    (made.folder / MANIFEST).unlink()
    Layout(root).ledger.unlink()
    with pytest.raises(ArtifactCorrupted, match=r"has no step\.json") as caught:
        Store(root, threads=1).run(RECIPE, make)
    assert f"mv {made.folder}" in caught.value.remedy
    assert make.calls == 1


@pytest.mark.parametrize("errno", [28, 122, 27])
def test_no_room_is_a_typed_error(root: Path, errno: int) -> None:
    def make(folder: Path) -> StepResult:
        raise OSError(errno, os.strerror(errno), str(folder / "scores.parquet"))

    with pytest.raises(DiskFull, match="no space left on the disk") as caught:
        Store(root, threads=1).run(RECIPE, make)
    assert "Free some space" in caught.value.remedy


def test_other_system_errors_stay_what_they_are(root: Path) -> None:
    def make(folder: Path) -> StepResult:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        Store(root, threads=1).run(RECIPE, make)


def test_the_manifest_is_the_ledger_line(root: Path) -> None:
    made = Store(root, threads=1).run(RECIPE, Maker())
    manifest = json.loads(made.path(MANIFEST).read_text(encoding="utf-8"))
    assert manifest == json.loads(Layout(root).ledger.read_text(encoding="utf-8"))


def test_an_attempt_that_was_replaced_stays_so_when_gone_through_again(root: Path) -> None:
    """An attempt that a later one replaced, and a round that followed: both as they were."""
    first, second = RECIPE, replace(RECIPE, config={"seed": 4})
    later = replace(RECIPE, round=2)
    store, make = Store(root, threads=1), Maker()
    for recipe in (first, second, later):
        store.run(recipe, make)
    before = read_current(Layout(root))
    again = Store(root, threads=1)
    attempt = ReplacedAttempt(again)
    assert attempt.run(first, make).cached
    again.run(second, make)
    assert read_current(Layout(root)) == before and make.calls == 3
    again.make_current(attempt.artifacts)
    found = current_artifact(Layout(root), 1, "scores")
    assert found is not None and found.entry.fingerprint == first.fingerprint
    assert current_artifact(Layout(root), 2, "scores") is None, "it followed the other one"


def test_every_folder_that_is_new_is_flushed_with_its_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = set[Path]()
    real = os.fsync

    def noting(fd: int) -> None:
        flushed.add(Path(os.readlink(f"/proc/self/fd/{fd}")))
        real(fd)

    monkeypatch.setattr(os, "fsync", noting)
    made = Store(root, threads=1).run(RECIPE, Maker())
    holders = {path.parent for path in (root, *root.rglob("*"))} - {made.folder / "policy"}
    assert holders - {made.folder} <= flushed
