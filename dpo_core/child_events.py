"""What a child process sends to its parent, line by line, and errors as part of it."""

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
        "typed": isinstance(error, RatchetError),
    }


def restore_error(described: DescribedError, remedy: str = "") -> RatchetError:
    """The error that `describe_error` described; `remedy` is used where it has none."""
    error = _KINDS[described["kind"]](described["message"], described["remedy"] or remedy)
    if isinstance(error, ChildFailed):
        error.deliberate = described.get("typed", False)
    return error
