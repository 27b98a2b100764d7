"""The campaign store: steps as functions from (config, inputs, user code) to artifacts on disk.

A step whose fingerprint is in the ledger and whose outputs still match their hashes is skipped, so
running a campaign and resuming it are one thing. A step is made in a folder beside its final one,
flushed, and renamed: the rename is the moment it counts. A crash between the rename and the ledger
line is healed from the manifest inside the folder.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isinf
from pathlib import Path
from typing import Any, Protocol

from dpo_core.atomic import flush, flush_tree, make_folder
from dpo_core.campaign.artifacts import Artifact, StepResult, check_outputs, read_manifest
from dpo_core.campaign.current import CampaignState, Current
from dpo_core.campaign.identity import (
    IDENTITY,
    VERSION,
    kept,
    kept_as,
    recomputed,
    settled,
    settled_through,
)
from dpo_core.campaign.layout import CHECKPOINTS, MANIFEST, SHARDS, Layout
from dpo_core.campaign.ledger import Entry, Ledger, now
from dpo_core.campaign.prunes import prune, pruned
from dpo_core.campaign.retractions import RETRACT, retracted, retraction
from dpo_core.campaign.rollbacks import Rollback, rolled_back
from dpo_core.errors import ArtifactCorrupted, DiskFull
from dpo_core.full_disk import OUT_OF_SPACE_ERRNOS, disk_full_error
from dpo_core.hashing import digest
from dpo_core.sealed import write_sealed
from dpo_core.seen_files import cached_sha256


@dataclass(frozen=True)
class Recipe:
    """What a step depends on. Equal recipes are equal steps.

    `inputs`: name → content hash; `functions`: import path of user code → hash of its source.
    `older`: fingerprints that older versions of Ratchet gave it and that may still count; see
    dpo_core.campaign.identity.
    """

    round: int
    step: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    older: tuple[str, ...] = field(default=(), compare=False)

    @property
    def fingerprint(self) -> str:
        parts = (dict(self.config), dict(self.inputs), dict(self.functions))
        return digest(self.step, *parts, {"identity": IDENTITY})


class StepRunner(Protocol):
    """Runs the steps of rounds, or finds them finished."""

    def run(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        """The artifact of `recipe`."""
        ...

    def as_recorded(self, number: int, step: str) -> Artifact | None:
        """A step that is taken as recorded, whatever it depends on now; None if it is not."""
        ...


class Store:
    """The steps of one campaign. Not safe for two processes: hold the campaign's lock."""

    def __init__(self, root: Path, threads: int) -> None:
        self.layout = Layout(root)
        self.ledger = Ledger(self.layout.ledger)
        self.threads = threads
        self.entries = self.ledger.read()
        """What the ledger says, oldest first."""
        self._steps = {(e.round, e.step, e.fingerprint): e for e in self.entries}
        self._kept = kept_as(self.entries)
        self._settled = settled_through(self.entries)
        self._pruned = pruned(self.entries)
        self._current = Current(self.layout)

    def run(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        """The artifact of `recipe`: from disk when it is there and intact, else made by `make`.

        `make` gets the folder to write into, empty but for what an interrupted attempt left
        in SHARDS or CHECKPOINTS.
        Raises ArtifactCorrupted when a finished output changed, DiskFull when there is no room.
        """
        artifact = self.obtain(recipe, make)
        self.make_current([artifact])
        return artifact

    def obtain(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        """As `run`, but the artifact does not become the current version of its step."""
        artifact = self.find(recipe) or self._adopt(recipe) or self._make(recipe, make)
        if artifact.entry.fingerprint not in (recipe.fingerprint, self._kept.get(_key(recipe))):
            self._keep(artifact.entry, recipe)
        return artifact

    def make_current(self, artifacts: Iterable[Artifact]) -> None:
        """Make finished steps the current versions, in the order in which they ran."""
        for artifact in artifacts:
            entry = artifact.entry
            self._current.point_to(entry.round, entry.step, artifact.folder.name)

    def as_recorded(self, number: int, step: str) -> Artifact | None:
        """None: every step is looked at for what it depends on now."""
        return None

    def finished(self, number: int, step: str) -> list[Entry]:
        """Every version of a round's step that was ever finished, oldest first."""
        steps = self._steps.values()
        return [entry for entry in steps if (entry.round, entry.step) == (number, step)]

    def find(self, recipe: Recipe) -> Artifact | None:
        """The finished artifact of `recipe`, verified, or None when it was never finished."""
        entry = self._entry_of(recipe)
        if entry is None:
            return None
        folder = self.layout.step(entry.round, entry.step, entry.fingerprint)
        if not folder.exists():
            return None
        check_outputs(folder, entry, self._pruned.get(entry.fingerprint, ()))
        return Artifact(folder, entry, cached=True)

    def _entry_of(self, recipe: Recipe) -> Entry | None:
        """By its fingerprint, or by one that it was finished under before and that still counts."""
        number, step, _ = _key(recipe)
        for name in (recipe.fingerprint, *recipe.older):
            for known in (name, self._kept.get((number, step, name), "")):
                entry = self._steps.get((number, step, known))
                if entry is not None:
                    return entry
        return None

    def older_identities(self, number: int, step: str) -> Sequence[int]:
        """Under which of them an older Ratchet may have known a finished version of this step that
        may still count, the latest first; see identity.

        What the first one finished has the names of those after it where they let it count.
        """
        finished = [entry.identity for entry in self.finished(number, step)]
        return [
            identity
            for identity in range(IDENTITY - 1, 0, -1)
            if number > self._settled[identity] and any(each <= identity for each in finished)
        ]

    def settle(self, number: int) -> None:
        """The round has run to its end: steps after the last one that ran are not valid any more.

        What older versions finished up to it was looked at: from now on it counts for what it was
        found to be, and for nothing else.
        """
        self._current.settle(number)
        older = any(e.identity < IDENTITY for e in self._steps.values() if e.round <= number)
        if older and number > self._settled[IDENTITY - 1]:
            self._write(settled(number))
            self._settled = settled_through(self.entries)

    def recompute(self) -> None:
        """From now on nothing counts that an older version finished. Said once, it holds."""
        older = any(entry.identity < IDENTITY for entry in self._steps.values())
        if older and not isinf(self._settled[IDENTITY - 1]):
            self._write(recomputed())
            self._kept, self._settled = {}, settled_through(self.entries)

    def _keep(self, entry: Entry, recipe: Recipe) -> None:
        self._write(kept(entry, recipe.fingerprint))
        self._kept[_key(recipe)] = entry.fingerprint

    def prune(self, artifact: Artifact, subfolder: str) -> None:
        """Give the disk space of a step's `subfolder` back; the ledger says so first."""
        if f"{subfolder}/" not in self._pruned.get(artifact.entry.fingerprint, ()):
            self._write(prune(artifact.entry, subfolder))
            self._pruned = pruned(self.entries)
        shutil.rmtree(artifact.path(subfolder), ignore_errors=True)

    def retract(self, source: str, number: int | None, *, undo: bool, by: str) -> None:
        """Take the judgements of a source in round `number` (None: in all) back, or undo that."""
        self._write(retraction(source, number, undo=undo, by=by))

    def retractions(self, number: int) -> frozenset[str]:
        """Sources whose judgements do not count in that round."""
        return retracted(self.entries, number)

    def was_retracted(self, source: str) -> bool:
        """Whether its judgements were ever taken back, even if they count again."""
        words = (entry for entry in self.entries if entry.step == RETRACT)
        return any(entry.facts["source"] == source for entry in words)

    def roll_back(self, entry: Entry) -> None:
        """Write down that another policy goes on after a round, or no other one after all."""
        self._write(entry)

    @property
    def rollbacks(self) -> list[Rollback]:
        """Those that stand, by round."""
        return rolled_back(self.entries)

    def rolled_back(self, number: int) -> int | None:
        """The round whose policy a person lets go on after round `number`, if any."""
        return next((one.to for one in self.rollbacks if one.after == number), None)

    def remember(self, key: str, value: object) -> None:
        """Keep a fact about the campaign as a whole in current.json."""
        self._current.remember(key, value)

    @property
    def state(self) -> CampaignState:
        """What current.json says."""
        return self._current.state

    def _adopt(self, recipe: Recipe) -> Artifact | None:
        """A step that was renamed into place by a run that died before it wrote the ledger."""
        folder = self.layout.step(recipe.round, recipe.step, recipe.fingerprint)
        manifest = folder / MANIFEST
        if not folder.exists():
            return None
        if not manifest.exists():
            raise ArtifactCorrupted(
                f"{folder} has no {MANIFEST}, so nothing says what should be in it",
                f"Move it away (mv {folder} {folder}.broken); `ratchet run` makes it again.",
            )
        entry = read_manifest(folder)
        check_outputs(folder, entry)
        self._record(entry)
        return Artifact(folder, entry, cached=True)

    def _make(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        partial = self.layout.partial(recipe.round, recipe.step, recipe.fingerprint)
        for stale in self.layout.partials(recipe.round, recipe.step):
            if stale != partial:
                shutil.rmtree(stale)
        started = time.monotonic()
        try:
            make_folder(partial)
            _clear(partial)
            result = make(partial)
            entry = self._entry(recipe, result, partial, time.monotonic() - started)
            folder = self._commit(recipe, partial, entry)
            self._record(entry)
        except DiskFull as error:  # a child knows neither the campaign nor what to do
            raise disk_full_error(self.layout.root, error.message) from error
        except OSError as error:
            if error.errno in OUT_OF_SPACE_ERRNOS:
                raise disk_full_error(self.layout.root, str(error)) from error
            raise
        return Artifact(folder, entry, cached=False)

    def _entry(self, recipe: Recipe, result: StepResult, partial: Path, seconds: float) -> Entry:
        outputs = {name: cached_sha256(partial / name) for name in _files(partial)}
        return Entry(
            round=recipe.round,
            step=recipe.step,
            fingerprint=recipe.fingerprint,
            inputs=dict(recipe.inputs),
            outputs=outputs,
            came_in=result.came_in,
            kept=result.kept,
            dropped=dict(result.dropped),
            facts=result.recorded_facts,
            versions=dict(result.versions),
            threads=self.threads,
            seconds=round(seconds, 3),
            at=now(),
            ratchet=VERSION,
            identity=IDENTITY,
        )

    def _commit(self, recipe: Recipe, partial: Path, entry: Entry) -> Path:
        write_sealed(partial / MANIFEST, asdict(entry))
        flush_tree(partial)
        folder = self.layout.step(recipe.round, recipe.step, recipe.fingerprint)
        os.rename(partial, folder)
        flush(folder.parent)
        return folder

    def _record(self, entry: Entry) -> None:
        self._write(entry)
        self._steps[(entry.round, entry.step, entry.fingerprint)] = entry

    def _write(self, entry: Entry) -> None:
        self.ledger.append(entry)
        self.entries.append(entry)


def _key(recipe: Recipe) -> tuple[int, str, str]:
    return recipe.round, recipe.step, recipe.fingerprint


def _clear(partial: Path) -> None:
    """Remove what an interrupted attempt left, or it would become an output of the next one."""
    for left in partial.iterdir():
        if left.is_dir() and left.name not in (SHARDS, CHECKPOINTS):
            shutil.rmtree(left)
        elif not left.is_dir():
            left.unlink()


def _files(folder: Path) -> list[str]:
    """Files below `folder` as relative names, in order, without the manifest."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != MANIFEST)


class ReplacedAttempt:
    """Goes once more through an attempt at a round that a later one replaced: what followed the
    later one stays current."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.artifacts: list[Artifact] = []

    def run(self, recipe: Recipe, make: Callable[[Path], StepResult]) -> Artifact:
        """As `Store.obtain`."""
        self.artifacts.append(self._store.obtain(recipe, make))
        return self.artifacts[-1]

    def as_recorded(self, number: int, step: str) -> None:
        """None, as in the store."""
