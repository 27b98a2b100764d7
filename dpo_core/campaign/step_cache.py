"""What a step made, kept for other campaigns of the same user.

An entry is a folder named after its key: the step's files, and a sealed RESULT with their hashes.
Nothing is taken from it unless all hashes match. Entries are written beside and renamed, so that
several runs can share the cache; keeping one is never worth an error.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, Self, TypeVar

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.identity import VERSION
from dpo_core.full_disk import OUT_OF_SPACE_ERRNOS, free_bytes
from dpo_core.hashing import file_sha256
from dpo_core.import_path import source_hash
from dpo_core.processor import describe_processors
from dpo_core.sealed import read_sealed, write_sealed
from dpo_core.step_facts import StepFacts
from dpo_core.user_cache import cache_bytes, user_cache

RESULT, FILES = "result.json", "files"
_MOST_OF_FREE = 0.25
"""Share of the disk's free space that a new entry may take: the campaign may need the rest."""

Facts = TypeVar("Facts", bound=StepFacts)


class StepCache(Generic[Facts]):
    """Entries of one kind of step in `folder`, `most_bytes` together.

    facts: the class of the step's facts. say: for what a person should know.
    """

    def __init__(
        self, folder: Path, most_bytes: float, facts: type[Facts], say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self._most_bytes, self._facts, self._say = most_bytes, facts, say

    @classmethod
    def of_user(cls, name: str, facts: type[Facts], say: Callable[[str], None]) -> Self | None:
        """The entries of all campaigns of the user; None where the environment gives no room."""
        most_bytes = cache_bytes()
        return cls(user_cache() / name, most_bytes, facts, say) if most_bytes else None

    def obtain(self, key: str, out: Path, make: Callable[[Path], StepResult]) -> StepResult:
        """The result for `key`, with its files in the empty folder `out`: a copy of the entry, or
        else what `make(out)` makes, which is kept."""
        result = self._take(key, out)
        if result is None:
            result = make(out)
            self._keep(key, out, result)
        return result

    def _take(self, key: str, out: Path) -> StepResult | None:
        entry = self.folder / key
        try:
            recorded, _ = read_sealed((entry / RESULT).read_bytes())
            _copy(entry / FILES, out)
            for name, expected in recorded.pop("outputs").items():
                if file_sha256(out / name) != expected:
                    raise ValueError(f"{name} is not what was kept")
            result = StepResult(**recorded | {"facts": self._facts.read(recorded["facts"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and error.errno in OUT_OF_SPACE_ERRNOS:
                raise  # of the campaign's disk, which the copy is on
            _empty(out)
            # Another run may have removed it meanwhile, or it may be another user's.
            if entry.exists() and not isinstance(error, PermissionError):
                self._remove(entry)
                self._say(f"! {entry} was damaged and is made anew: {error}")
            return None
        with suppress(OSError):  # it counts as used, unless the disk is read-only
            os.utime(entry)
        self._say(f"base: copied from {self.folder}, where an earlier campaign left it")
        return result

    def _keep(self, key: str, out: Path, result: StepResult) -> None:
        beside = None
        try:
            files = sorted(path for path in out.rglob("*") if path.is_file())
            size = sum(path.stat().st_size for path in files)
            if size > min(self._most_bytes, free_bytes(self.folder) * _MOST_OF_FREE):
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
            _copy(out, beside / FILES)
            outputs = {path.relative_to(out).as_posix(): file_sha256(path) for path in files}
            recorded = {
                "came_in": result.came_in,
                "kept": result.kept,
                "dropped": dict(result.dropped),
                "facts": result.facts.as_json(),
                "versions": dict(result.versions),
                "outputs": outputs,
            }
            write_sealed(beside / RESULT, recorded)
            beside.rename(self.folder / key)  # fails where another run was first
            self._trim()
        except OSError:  # full, read-only, or another run's
            pass
        finally:
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)

    def _trim(self) -> None:
        """Remove the entries that were not used for longest, until the others fit."""
        total = 0
        for entry in sorted(self.folder.iterdir(), key=_used, reverse=True):
            total += sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
            if total > self._most_bytes:
                self._remove(entry)

    def _remove(self, entry: Path) -> None:
        """Whoever copies it now finds it gone as a whole, and makes the step."""
        with suppress(OSError):
            gone = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
            entry.rename(gone / entry.name)
            shutil.rmtree(gone, ignore_errors=True)


def machine_key(function: str, threads: int) -> tuple[object, ...]:
    """What the bits of a policy that `function` trains depend on besides its recipe."""
    versions = {name: version(name) for name in _LIBRARIES if find_spec(name) is not None}
    return threads, source_hash(function), VERSION, sys.version, versions, describe_processors()


_LIBRARIES = ("gguf", "numpy", "safetensors", "tokenizers", "torch", "transformers")


def _used(entry: Path) -> float:
    return entry.stat().st_mtime


def _copy(folder: Path, to: Path) -> None:
    """File by file: `shutil.copytree` hides what the disk said."""
    for path in folder.rglob("*"):
        target = to / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
