"""The most memory of the machine that this process has held, since it was last asked to forget."""

import resource
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak_resident() -> None:
    """Begin anew, where the system can: Linux, from the memory held now."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes() -> int:
    """Resident memory at its highest; where the system keeps no such count, since the start."""
    with suppress(OSError):
        for line in (_PROCESS / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
