"""What a child process sends to its parent, line by line, and errors as part of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from dpo_core.errors import (
    BadInput,
    ChildDied,
    ChildFailed,
    DiskFull,
    Interrupted,
    InvariantViolated,
    RatchetError,
)
from dpo_core.full_disk import is_out_of_space

_KINDS: dict[str, type[RatchetError]] = {
    "bad_input": BadInput,
    "died": ChildDied,
    "disk_full": DiskFull,
    "interrupted": Interrupted,
    "invariant_violated": InvariantViolated,
    "failed": ChildFailed,
}


class DescribedError(TypedDict, total=False):
    """An error on its way to the parent. typed: whether Ratchet raised it on purpose."""

    kind: str
    message: str
    remedy: str
    typed: bool


class ChildEvent(DescribedError, total=False):
    """What a child sends: that it is `ready`; `progress` with done, total and unit; a `notice` with
    text; a `result`; or an `error`, described."""

    event: str
    done: int
    total: int
    unit: str
    text: str
    result: dict[str, Any]


def describe_error(error: Exception) -> DescribedError:
    """The error as JSON, from which `restore_error` restores it."""
    kind = next((name for name, kind in _KINDS.items() if isinstance(error, kind)), "failed")
    if is_out_of_space(error):
        kind = "disk_full"
    message = (
        error.message if isinstance(error, RatchetError) else f"{type(error).__name__}: {error}"
    )
    return {
        "kind": kind,
        "message": message,
        "remedy": getattr(error, "remedy", ""),
        # One that came from a process further on stays what it was there.
        "typed": vars(error).get("deliberate", isinstance(error, RatchetError)),
    }


def restore_error(described: DescribedError, remedy: str = "") -> RatchetError:
    """The error that `describe_error` described; `remedy` is used where it has none."""
    error = _KINDS[described["kind"]](described["message"], described["remedy"] or remedy)
    if isinstance(error, ChildFailed):
        error.deliberate = described.get("typed", False)
    return error


def pass_on(
    event: ChildEvent,
    log: Path,
    report: Callable[[int, int, str], None] | None,
    notice: Callable[[str], None] | None,
) -> None:
    """Tell progress and notices. Raises the error that an event describes, with the child's log."""
    if event["event"] == "progress" and report is not None:
        report(event["done"], event["total"], event["unit"])
    if event["event"] == "notice" and notice is not None:
        notice(event["text"])
    if event["event"] == "error":
        raise restore_error(event, f"Its log: {log}")
