"""Files of others, outside the campaign, from which steps are made: they may be gone since."""

from pathlib import Path

from dpo_core.campaign.store import current_artifact
from dpo_core.errors import InputGone
from dpo_core.hashing import file_sha256
from flows.session import Session


def given_sha256(session: Session, number: int, step: str, name: str, path: Path) -> str:
    """The hash of a file that is input `name` of a step; where it is gone, that with which the
    step was made, so that what is finished is found. Raises InputGone where it never was."""
    if path.is_file():
        return file_sha256(path)
    made = current_artifact(session.store.layout, number, step)
    if made is None or name not in made.entry.inputs:
        raise _gone(path)
    return made.entry.inputs[name]


def check_given(path: Path) -> None:
    """Raise InputGone for a file that a step needs to be made, and that is not there."""
    if not path.is_file():
        raise _gone(path)


def _gone(path: Path) -> InputGone:
    return InputGone(
        f"{path} is gone, and a step needs it", "Put it back where it was, or name another one."
    )
