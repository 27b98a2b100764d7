"""Finished steps as artifacts: a folder of outputs, checked against their recorded hashes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dpo_core.campaign.current import valid_steps
from dpo_core.campaign.inputs import Input
from dpo_core.campaign.layout import MANIFEST, Layout
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.remote import bring, is_elsewhere
from dpo_core.errors import ArtifactCorrupted
from dpo_core.sealed import BrokenSeal, read_sealed
from dpo_core.seen_files import cached_sha256
from dpo_core.step_facts import StepFacts

Facts = TypeVar("Facts", bound=StepFacts)


@dataclass(frozen=True)
class StepResult:
    """What making a step came to: how many came in, went on, were dropped and why, facts of that
    step, and the costs that every step has."""

    came_in: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    facts: StepFacts = field(default_factory=StepFacts)
    versions: Mapping[str, str] = field(default_factory=dict)
    costs: StepFacts = field(default_factory=StepFacts)

    @property
    def recorded_facts(self) -> Mapping[str, object]:
        """Facts and costs as the ledger has them."""
        return {**self.facts.as_json(), **self.costs.as_json()}


@dataclass(frozen=True)
class Artifact:
    """A finished step: its folder and its ledger entry; `cached` when it was not made just now.

    made_again: the hashes of the files in `folder` where they are not those of the entry.
    """

    folder: Path
    entry: Entry
    cached: bool
    made_again: Mapping[str, str] | None = None

    def path(self, name: str) -> Path:
        """Where an output is, or a folder of outputs, or what may be there.

        An output that is only in the campaign's bucket is fetched. Raises ArtifactCorrupted for a
        file that is not what the ledger recorded.
        """
        path = self.folder / name
        if name in self.entry.outputs:
            bring(path)
        outputs = self.entry.outputs if self.made_again is None else self.made_again
        if name in outputs and path.exists():
            check_output(self.folder, name, outputs[name])
        return path

    def facts(self, kind: type[Facts]) -> Facts:
        """What the step recorded, as the facts of that kind of step."""
        return kind.read(self.entry.facts)

    def hash(self, name: str) -> str:
        """Content hash of one output file."""
        return self.entry.outputs[name]

    def input(self, name: str) -> Input:
        """One output file, for a step that depends on it."""
        here = not is_elsewhere(self.folder, name)  # what is not is fetched when it is read
        return Input(self.hash(name), self.path(name) if here else self.folder / name)


def current_artifact(layout: Layout, number: int, step: str) -> Artifact | None:
    """The valid version of a step, read without locking or verifying the campaign.

    Its files are verified as they are read, by `Artifact.path`.
    """
    name = valid_steps(layout, number).get(step)
    if name is None:
        return None
    folder = layout.round(number) / name
    return Artifact(folder, read_manifest(folder), cached=True)


def verify_outputs(folder: Path, beginning: str) -> None:
    """Raise ArtifactCorrupted where outputs of the step in `folder` whose names begin so are not
    what was recorded; nothing for a folder that no step made."""
    if (folder / MANIFEST).exists():
        for name, expected in read_manifest(folder).outputs.items():
            if name.startswith(beginning):
                bring(folder / name)
                check_output(folder, name, expected)


def read_manifest(folder: Path) -> Entry:
    """The entry that a finished step keeps beside its outputs. Raises ArtifactCorrupted."""
    path = folder / MANIFEST
    try:
        recorded, _ = read_sealed(path.read_bytes())
        return Entry(**recorded)
    except (BrokenSeal, TypeError) as error:
        raise ArtifactCorrupted(
            f"{path} is damaged: {error}",
            f"Restore it from a backup; or move its folder away (mv {folder} {folder}.broken) "
            "and `ratchet run` makes it again.",
        ) from None


def check_outputs(folder: Path, entry: Entry, pruned: tuple[str, ...] = ()) -> None:
    """Raise ArtifactCorrupted for a changed output; `pruned`: beginnings of what may be gone."""
    for name, expected in entry.outputs.items():
        if not name.startswith(pruned) and not is_elsewhere(folder, name):
            check_output(folder, name, expected)


def check_output(folder: Path, name: str, expected: str) -> None:
    """Raise ArtifactCorrupted unless the output has the expected sha256."""
    path = folder / name
    actual = cached_sha256(path) if path.exists() else "nothing"
    if actual != expected:
        raise ArtifactCorrupted(
            f"{path} is not what the ledger recorded: expected sha256 {expected[:16]}…, "
            f"found {actual[:16]}…",
            f"Restore it from a backup; or move it away (mv {folder} {folder}.broken) "
            "and `ratchet run` makes it again.",
        )
