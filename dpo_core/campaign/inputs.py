"""What a step depends on, each thing with the hash of its contents and the place where it lies.

A step is given its inputs, and has no other path to what the campaign holds: what it reads is what
its fingerprint knows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dpo_core.campaign.remote import bring
from dpo_core.errors import InputGone, InvariantViolated
from dpo_core.hashing import file_sha256

GONE = "gone"
"""In place of the hash of a file of the user that is not there, and that no step was made of."""


@dataclass(frozen=True)
class Input:
    """hash: of the contents; None where they are not part of what the step is, as of a log that
    grows meanwhile. path: None for a value that is no file. gone: a file of the user that is not
    there any more; finished steps do not need it."""

    hash: str | None
    path: Path | None = None
    gone: bool = False

    @classmethod
    def of_file(cls, path: Path, sha256: Callable[[Path], str] = file_sha256) -> "Input":
        """A file of the user, which may be another one tomorrow or be gone."""
        return cls(sha256(path), path) if path.is_file() else cls.of_gone(path)

    @classmethod
    def of_gone(cls, path: Path) -> "Input":
        """A file or folder of the user that is not there."""
        return cls(GONE, path, gone=True)


class Inputs:
    """The inputs of a step by their names, for the function that makes it."""

    def __init__(self, step: str, declared: Mapping[str, Input]) -> None:
        self._step = step
        self._declared = declared

    def path(self, name: str) -> Path:
        """Where the input lies. Raises InvariantViolated for one that was not declared, InputGone
        for a file that is not there any more."""
        path = self.find(name)
        if path is None:
            raise InvariantViolated(f"step {self._step} reads {name}, which it did not declare")
        return path

    def find(self, name: str) -> Path | None:
        """The same; None for an input that the step does not have."""
        declared = self._declared.get(name)
        if declared is None or declared.path is None:
            return None
        if declared.gone:
            raise input_gone(self._step, declared.path)
        bring(declared.path)
        return declared.path

    @property
    def hashes(self) -> dict[str, str]:
        """What the step's fingerprint knows of them."""
        return {name: found.hash for name, found in self._declared.items() if found.hash}


def input_gone(step: str, path: Path) -> InputGone:
    """The error of a step that needs a file of the user which is not there."""
    return InputGone(
        f"step {step} needs {path}, which is gone",
        "Put it back where it was, or name another one in the config.",
    )


def as_made(declared: Mapping[str, Input], recorded: Mapping[str, str]) -> dict[str, Input]:
    """Inputs that are gone get the hash with which the step was made, so that it is found.

    recorded: the hashes of its inputs by their names; empty for a step that was not made.
    """
    return {
        name: replace(one, hash=recorded.get(name, GONE)) if one.gone else one
        for name, one in declared.items()
    }
