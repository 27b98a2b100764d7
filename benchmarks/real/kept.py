"""Parts of an experiment: folders that are there whole or not at all, and what they took."""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dpo_core.atomic import flush, make_folder, write_json

_TOOK = "took.json"


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and CPU-seconds of this process and of its children that have ended."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: "Took") -> "Took":
        return Took(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


@contextmanager
def measured(tell: Callable[[Took], object]) -> Iterator[None]:
    """Tells what the body took, also of a body that fails."""
    started, used = time.monotonic(), _cpu_seconds()
    try:
        yield
    finally:
        tell(Took(round(time.monotonic() - started, 2), round(_cpu_seconds() - used, 2)))


def kept(folder: Path, make: Callable[[Path], object]) -> Took:
    """Let `make` fill `folder`, unless an earlier call has; what that took."""
    if not folder.is_dir():
        make_folder(folder.parent)
        beside = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)  # of a call that was killed
        beside.mkdir()
        with measured(lambda took: write_json(beside / _TOOK, asdict(took))):
            make(beside)
        os.replace(beside, folder)
        flush(folder.parent)
    return Took(**json.loads((folder / _TOOK).read_text(encoding="utf-8")))


def _cpu_seconds() -> float:
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)
