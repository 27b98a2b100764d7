"""A store that loses answers, refuses for a moment, is slow or is gone: nothing is lost, and nobody
is said to have taken the campaign over."""

import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from stand_in import LEASE_S, Campaign, Wrapped, hashes, run

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.remote import read_place
from dpo_core.errors import ArtifactCorrupted, StorageFailed
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.objects import Objects, open_objects
from dpo_core.storage.uploads import stored

SHARE = 0.2


class Failing(Wrapped):
    """Objects of which a share of all requests fails, one half after they were carried out."""

    def __init__(self, objects: Objects, seed: int, why: str) -> None:
        super().__init__(objects)
        self._random, self._why = random.Random(seed), why
        self._lock = threading.Lock()
        self.failed = 0

    def get(self, key: str) -> bytes | None:
        self._before()
        return super().get(key)

    def size(self, key: str) -> int | None:
        self._before()
        return super().size(key)

    def names(self, folder: str) -> list[str]:
        self._before()
        return super().names(folder)

    def put(self, key: str, content: bytes | Path) -> None:
        self._before()
        super().put(key, content)
        self._before()

    def create(self, key: str, content: bytes) -> None:
        self._before()
        super().create(key, content)
        if self._draw():  # as clients do that try again by themselves
            super().create(key, content)

    def _before(self) -> None:
        if self._draw():
            raise StorageFailed(self._why)

    def _draw(self) -> bool:
        with self._lock:
            drawn = self._random.random() < SHARE
            self.failed += drawn
        return drawn


_REASONS = ("timed out", "409 ConditionalRequestConflict", "503 SlowDown")


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        (0, _REASONS[0]),
        *(pytest.param(n, _REASONS[n % 3], marks=pytest.mark.proof) for n in range(1, 20)),
    ],
)
def test_nothing_is_lost_and_nobody_has_taken_over(seed: int, why: str, tmp_path: Path) -> None:
    made: list[Failing] = []

    def failing(objects: Objects) -> Objects:
        made.append(Failing(objects, seed, why))
        return made[-1]

    url = f"file://{tmp_path}/bucket"
    run(tmp_path / "a", url, failing, patience_s=300)
    assert made[0].failed > 10
    again = run(tmp_path / "b", url)
    assert again.made == []
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


class Gated(Wrapped):
    """Objects whose blobs wait until they may go; then they take `error`, if there is one."""

    def __init__(self, objects: Objects, error: StorageFailed | None = None) -> None:
        super().__init__(objects)
        self.may_go, self.waiting = threading.Event(), threading.Event()
        self._error = error

    def put(self, key: str, content: bytes | Path) -> None:
        if key.startswith("blobs/"):
            self.waiting.set()
            assert self.may_go.wait(60)
            if self._error is not None:
                raise self._error
        super().put(key, content)


def test_slow_uploads_are_never_in_the_way_of_steps(tmp_path: Path) -> None:
    """All steps are made while not a byte goes; policies that were removed meanwhile never go."""
    url, root = f"file://{tmp_path}/bucket", tmp_path / "a"
    root.mkdir()
    gated = Gated(open_objects(url, make=True))
    with stored(Layout(root), Bucket(gated, url), LEASE_S) as uploads:
        campaign = Campaign(root, uploads)
        campaign.run()
        assert len(campaign.made) == 12
        assert uploads.lag == len(campaign.store.entries)
        gated.may_go.set()
        uploads.wait()
        assert uploads.lag == 0
    weights = [
        sha256
        for name, outputs in hashes(root).items()
        if " training " in name
        for sha256 in outputs.values()
    ]
    assert [Path(tmp_path / "bucket" / "blobs" / each).exists() for each in weights] == [
        False,
        True,
    ]
    assert run(tmp_path / "b", url).made == []


def test_before_people_and_paid_endpoints_finished_steps_alone_are_waited_for(
    tmp_path: Path,
) -> None:
    url, root = f"file://{tmp_path}/bucket", tmp_path / "a"
    root.mkdir()
    gated = Gated(open_objects(url, make=True))
    with stored(Layout(root), Bucket(gated, url), LEASE_S) as uploads:
        Campaign(root, uploads).run()
        waiting = threading.Thread(target=uploads.wait_for_steps)
        waiting.start()
        assert gated.waiting.wait(60)
        waiting.join(0.1)
        assert waiting.is_alive()
        place = read_place(Layout(root))
        assert place is not None and "but for the last 15 lines" in place.sentence(15)
        gated.may_go.set()
        waiting.join(60)
        assert not waiting.is_alive() and uploads.lag == 0
        gated.may_go.clear()  # a reply that was just paid for does not hold up the next question
        Layout(root).judge_spending.write_text("more\n")
        uploads.wait_for_steps()
        gated.may_go.set()
    place = read_place(Layout(root))
    assert place is not None and place.sentence(place.entries) == f"Stored in {url}."


@pytest.mark.parametrize("lasting", [True, False])
def test_store_that_fails_for_good_ends_the_run_and_the_next_one_uploads_the_rest(
    lasting: bool, tmp_path: Path
) -> None:
    url, root = f"file://{tmp_path}/bucket", tmp_path / "a"
    root.mkdir()
    gated = Gated(open_objects(url, make=True), StorageFailed("no room", lasting=lasting))
    gated.may_go.set()
    ended: list[Exception] = []
    with (
        pytest.raises(StorageFailed, match="no room"),
        stored(Layout(root), Bucket(gated, url, patience_s=0.5), LEASE_S, ended.append) as uploads,
    ):
        Campaign(root, uploads).run(uploads.wait)
    assert [str(error) for error in ended] == ["no room"]
    done = len(hashes(root))
    assert 0 < done < 12
    again = run(root, url)
    assert len(again.made) == 12 - done
    assert run(tmp_path / "b", url).made == []


def _damage(path: Path) -> None:
    path.write_bytes(b"\0" + path.read_bytes()[1:])


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [_damage, _remove])
def test_blob_that_is_not_what_was_written_is_refused(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/bucket"
    run(tmp_path / "a", url)
    (sha256,) = next(
        v for k, v in hashes(tmp_path / "a").items() if k.startswith("1 gate")
    ).values()
    harm(tmp_path / "bucket" / "blobs" / sha256)
    run(tmp_path / "b", url)  # nobody reads it
    layout = Layout(tmp_path / "b")
    entry = next(e for e in Campaign(layout.root, None).store.entries if e.step == "gate")
    artifact = Artifact(layout.step(1, "gate", entry.fingerprint), entry, cached=True)
    with pytest.raises(ArtifactCorrupted, match=r"is damaged|is not in"):
        artifact.path("gate.bin")
    assert not (artifact.folder / "gate.bin").exists()
