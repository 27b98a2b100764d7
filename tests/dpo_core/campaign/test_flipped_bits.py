"""A flipped bit in what a campaign keeps: refused by name or harmless, never another value."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.current import PromotedPolicy, read_current
from dpo_core.campaign.layout import MANIFEST, Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import ArtifactCorrupted
from dpo_core.step_facts import StepFacts
from tests.resealed import unseal

RECIPES = [
    Recipe(0, "base", {"seed": 1}),
    Recipe(1, "scores", {"seed": 2}, {"completions": "c0ffee"}),
    Recipe(1, "gate", {"seed": 3}),
]


class Facts(StepFacts):
    low: float
    promoted: bool
    of: list[int]


def make(folder: Path) -> StepResult:
    (folder / "scores.parquet").write_text("rows")
    (folder / "policy").mkdir()
    (folder / "policy" / "weights").write_text("weights")
    return StepResult(5, 3, {"naïve – reason": 2}, Facts(low=0.5, promoted=True, of=[1, 2]))


def run(root: Path) -> list[Artifact]:
    store = Store(root, threads=1)
    made = [store.run(recipe, make) for recipe in RECIPES]
    store.remember("promoted", PromotedPolicy(1, "5eed"))
    return made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    run(tmp_path / "campaign")
    return Layout(tmp_path / "campaign")


def flips(path: Path) -> Iterator[bytes]:
    """Each byte of the file with each of its bits turned round, the others as they are."""
    content = path.read_bytes()
    try:
        for at in range(len(content)):
            for bit in range(8):
                yield content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    finally:
        path.write_bytes(content)


def read_all(path: Path, read: Callable[[], Any]) -> tuple[int, int]:
    """(how often it was refused, how often it was read as it had been written)."""
    expected = read()
    refused = harmless = 0
    for changed in flips(path):
        with path.open("r+b") as file:  # in place, as a disk would
            file.write(changed)
        os.utime(path, ns=(0, refused + harmless))  # nothing of it is remembered
        try:
            assert read() == expected
            harmless += 1
        except ArtifactCorrupted as error:
            assert str(path) in error.message and error.remedy
            refused += 1
    return refused, harmless


def test_the_ledger(layout: Layout) -> None:
    refused, harmless = read_all(layout.ledger, Ledger(layout.ledger).read)
    assert refused > 100 * harmless


def test_current_json(layout: Layout) -> None:
    refused, harmless = read_all(layout.current, lambda: read_current(layout))
    assert refused > 50 * harmless  # one kind of white space is as good as another


def test_what_status_and_report_read_of_a_step(layout: Layout) -> None:
    def read() -> tuple[Any, Any, str]:
        made = current_artifact(layout, 1, "gate")
        assert made is not None
        return made.entry, made.folder, made.path("scores.parquet").read_text()

    made = current_artifact(layout, 1, "gate")
    assert made is not None
    for path in (made.folder / MANIFEST, layout.current):
        refused, harmless = read_all(path, read)
        assert refused > 50 * harmless
    assert read_all(made.folder / "scores.parquet", read)[1] == 0


def test_every_output_is_found_by_the_next_run(layout: Layout) -> None:
    files = (path for path in layout.root.glob("rounds/*/*/**/*") if path.is_file())
    outputs = [path for path in files if path.name != MANIFEST]
    assert len(outputs) == 6
    for path in outputs:
        assert read_all(path, lambda: [made.entry for made in run(layout.root)])[1] == 0


@pytest.mark.parametrize("sealed", [True, False])
def test_the_remedy_for_current_json_works(layout: Layout, sealed: bool) -> None:
    before, ledger = read_current(layout), layout.ledger.read_bytes()
    if not sealed:
        unseal(layout.current)
        assert read_current(layout) == before, "of an earlier version"
    layout.current.write_bytes(layout.current.read_bytes().replace(b"scores-", b"sc\x00res-"))
    with pytest.raises(ArtifactCorrupted, match=r"current\.json is damaged") as caught:
        run(layout.root)
    assert "mv " in caught.value.remedy
    layout.current.rename(layout.current.with_suffix(".broken"))
    assert all(made.cached for made in run(layout.root))
    assert read_current(layout) == before and layout.ledger.read_bytes() == ledger


def test_the_remedies_for_ledger_and_manifest_work(layout: Layout) -> None:
    before = read_current(layout)
    lines = layout.ledger.read_bytes().splitlines(keepends=True)
    layout.ledger.write_bytes(lines[0] + lines[1].replace(b"reason", b"season") + lines[2])
    with pytest.raises(ArtifactCorrupted, match="line 2 is damaged"):
        run(layout.root)
    layout.ledger.write_bytes(lines[0] + lines[2])
    assert all(made.cached for made in run(layout.root)), "its folder says what it was"
    manifest = run(layout.root)[1].folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"reason", b"season"))
    with pytest.raises(ArtifactCorrupted, match=r"step\.json is damaged") as caught:
        current_artifact(layout, 1, "scores")
    assert f"mv {manifest.parent}" in caught.value.remedy
    manifest.parent.rename(manifest.parent.with_suffix(".broken"))
    assert [made.cached for made in run(layout.root)] == [True, False, True]
    assert read_current(layout) == before


def test_a_file_is_hashed_once_while_it_stays_the_same(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = current_artifact(layout, 1, "scores")
    assert made is not None
    path = made.folder / "scores.parquet"
    os.utime(path, ns=(0, 0))
    hashed: list[Path] = []
    opened = Path.open

    def noting(self: Path, *args: Any, **options: Any) -> Any:
        hashed.append(self)
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", noting)
    monkeypatch.setattr("dpo_core.seen_files._SETTLED_NS", 0)
    for _ in range(5):
        made.path("scores.parquet")
    assert hashed == [path]
