"""Checkpoints of training in a campaign's bucket, so that a lost machine loses only the optimiser
steps since the last one (`storage.checkpoints`).

A checkpoint counts once a segment names its files, and so all of them. Its step's end removes it
from the segments that follow. Its blobs lie apart: nothing of Ratchet's removes them.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from dpo_core.atomic import flush
from dpo_core.campaign.layout import Layout, checkpoint_of
from dpo_core.errors import ArtifactCorrupted
from dpo_core.seen_files import cached_sha256
from dpo_core.storage.bucket import Bucket
from dpo_core.storage.rules import CHECKPOINT_BLOBS


class CheckpointUploads:
    """The newest checkpoints of a campaign that runs. known: what the last segment names."""

    def __init__(self, layout: Layout, bucket: Bucket, known: Mapping[str, str]) -> None:
        self._layout = layout
        self._bucket = bucket
        self._uploaded = {name: sha256 for name, sha256 in known.items() if checkpoint_of(name)}

    def files(self) -> Mapping[str, str]:
        """Path in the campaign → sha256, of the checkpoints that are whole in the bucket and whose
        steps are still being made."""
        kept = {
            name: sha256
            for name, sha256 in self._uploaded.items()
            if (folder := checkpoint_of(name)) and (self._layout.root / folder).parent.is_dir()
        }
        self._uploaded = kept
        return kept

    def upload(self, interrupted: Callable[[], bool]) -> bool:
        """Upload the newest ones; whether there was one. `interrupted`, asked between files, leaves
        it for later."""
        before = self._uploaded
        for folder in self._layout.checkpoints():
            name = folder.relative_to(self._layout.root).as_posix()
            if any(checkpoint_of(each) == name for each in self._uploaded):
                continue
            found: dict[str, str] = {}
            try:
                for path in sorted(each for each in folder.rglob("*") if each.is_file()):
                    if interrupted():
                        return False
                    digest = cached_sha256(path)
                    self._bucket.upload(path, digest, CHECKPOINT_BLOBS)
                    found[path.relative_to(self._layout.root).as_posix()] = digest
            except FileNotFoundError:
                continue  # a newer one took its place
            step = folder.parent.relative_to(self._layout.root).as_posix()
            others = {n: s for n, s in self._uploaded.items() if not n.startswith(f"{step}/")}
            self._uploaded = others | found
        return self._uploaded is not before


def fetch_checkpoints(layout: Layout, bucket: Bucket, files: Mapping[str, str]) -> None:
    """Fetch the checkpoints of `files`, which are the bucket's, unless the folder has newer ones.

    One that is not whole there any more is left out: training begins anew.
    """
    folders: dict[str, dict[str, str]] = {}
    for name, sha256 in files.items():
        if (of := checkpoint_of(name)) is not None:
            folders.setdefault(of, {})[name] = sha256
    newest = {path.parent: path.name for path in layout.checkpoints()}
    for of, named in folders.items():
        folder = layout.root / of
        if newest.get(folder.parent, "") >= folder.name:
            continue
        unfinished = folder.with_name(f".{folder.name}.fetched")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            for name, sha256 in named.items():
                path = unfinished / Path(name).relative_to(of)
                path.parent.mkdir(parents=True, exist_ok=True)
                bucket.fetch(sha256, path, CHECKPOINT_BLOBS)
        except ArtifactCorrupted as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            bucket.say(
                f"a checkpoint is left out, so that its round is trained anew: {error.message}"
            )
            continue
        os.rename(unfinished, folder)
        flush(folder.parent)
