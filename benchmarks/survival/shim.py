"""The library of shim.c, compiled where there is a C compiler, and the numbers that steer it."""

import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_ERRNO, _BEFORE, _LEFT, _HIT, _CLOCK = range(5)


def compiled(folder: Path) -> Path | None:
    """The library, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = folder / "shim.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


class Shim:
    """Faults of the disk below one folder and of the clock, where `variables` are set."""

    def __init__(self, library: Path, control: Path, below: Path) -> None:
        control.write_bytes(bytes(64))
        with control.open("r+b") as file:
            self._numbers = mmap.mmap(file.fileno(), 64)
        self.variables: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "SURVIVAL_SHIM": str(control),
            "SURVIVAL_BELOW": str(below.resolve()),
        }

    def fail(self, number: int, *, after: int, calls: int) -> None:
        """Let `calls` calls fail with errno `number`, once `after` others have succeeded."""
        self._set(_ERRNO, 0)
        for index, value in ((_BEFORE, after), (_LEFT, calls), (_HIT, 0), (_ERRNO, number)):
            self._set(index, value)

    def heal(self) -> None:
        self._set(_ERRNO, 0)

    @property
    def hit(self) -> int:
        """Calls that failed since `fail`."""
        return int(struct.unpack_from("q", self._numbers, 8 * _HIT)[0])

    def clock(self, seconds: int) -> None:
        """From now on the clock of the day is so many seconds off."""
        self._set(_CLOCK, seconds)

    def _set(self, index: int, value: int) -> None:
        struct.pack_into("q", self._numbers, 8 * index, value)
