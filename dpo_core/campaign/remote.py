"""Files of a campaign that are in its object store and not in its folder: fetched when read.

A folder with a `storage.json` may lack outputs of finished steps. What was removed on purpose
(`keep_policies`) lacks its subfolder as well.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from dpo_core.atomic import write_json
from dpo_core.campaign.layout import MANIFEST, Layout
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import read_sealed
from dpo_core.text import counted

if TYPE_CHECKING:
    from dpo_core.storage.bucket import Bucket


@dataclass(frozen=True)
class StoragePlace:
    """Where else a campaign is. epoch, nonce: of the lease that this folder last had. segment: the
    last one that this folder knows. entries: how many lines of the ledger are there. files: the
    sha256 of each file that grows when both had the same. at: when that was written. held_by: the
    host that has the campaign, where this folder only shows what the bucket says."""

    url: str
    epoch: int = 0
    nonce: str = ""
    segment: int = 0
    entries: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    at: str = ""
    held_by: str = ""

    def lag(self, entries: int) -> int:
        """How many of a ledger's lines are still to be uploaded."""
        return max(0, entries - self.entries)

    def sentence(self, entries: int) -> str:
        """What people are told, of a ledger with so many lines."""
        if lag := self.lag(entries):
            return f"Stored in {self.url}, but for the last {counted(lag, 'line')} of the ledger."
        held = f"; {self.held_by} has it, or did not end well" if self.held_by else ""
        return f"Stored in {self.url}{held}."


_PLACE = TypeAdapter(StoragePlace)


def read_place(layout: Layout) -> StoragePlace | None:
    """None for a campaign that is nowhere else."""
    try:
        return _PLACE.validate_python(json.loads(layout.storage.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, ValidationError):
        raise ArtifactCorrupted(
            f"{layout.storage} is damaged",
            f"Move it away (mv {layout.storage} {layout.storage}.broken) and run the campaign with "
            "the storage.url that it had.",
        ) from None


def write_place(layout: Layout, place: StoragePlace) -> None:
    write_json(layout.storage, asdict(place))


def is_elsewhere(folder: Path, name: str) -> bool:
    """Whether an output of the step in `folder` is not here, but in the campaign's store."""
    if (folder / name).exists() or _was_removed(folder, name):
        return False
    return _layout(folder).storage.exists()


def is_somewhere(folder: Path, name: str) -> bool:
    """Whether an output of the step in `folder` can be read."""
    return (folder / name).exists() or is_elsewhere(folder, name)


def bring(path: Path) -> None:
    """Fetch what is missing of an output of a step, or of a folder of outputs.

    Nothing happens for other paths. Raises StorageFailed, and ArtifactCorrupted for contents that
    are not what the ledger recorded.
    """
    if path.is_file():
        return
    folder = next((each for each in path.parents if (each / MANIFEST).is_file()), None)
    if folder is None or not _layout(folder).storage.exists():
        return
    manifest, _ = read_sealed((folder / MANIFEST).read_bytes())
    beginning = path.relative_to(folder).as_posix()
    with _LOCK:
        for name, sha256 in manifest["outputs"].items():
            wanted = name == beginning or name.startswith(f"{beginning}/")
            if wanted and is_elsewhere(folder, name):
                place = read_place(_layout(folder))
                assert place is not None, "is_elsewhere looked"
                _bucket(place.url).fetch(sha256, folder / name)


_LOCK = RLock()


@cache
def _bucket(url: str) -> "Bucket":
    from dpo_core.storage.bucket import Bucket
    from dpo_core.storage.objects import open_objects

    return Bucket(open_objects(url), url)


def _layout(folder: Path) -> Layout:
    """Of the campaign in which `folder` is that of a step: <campaign>/rounds/NN/<step>."""
    return Layout(folder.parent.parent.parent)


def _was_removed(folder: Path, name: str) -> bool:
    subfolder, slash, _ = name.partition("/")
    return bool(slash) and not (folder / subfolder).is_dir()
