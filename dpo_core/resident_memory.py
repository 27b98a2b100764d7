"""Peak resident memory of this process since the last reset."""

import resource
from contextlib import suppress
from pathlib import Path

_PROCESS = Path("/proc/self")


def forget_peak_resident() -> None:
    """Reset the peak to the memory held now, where the system can (Linux)."""
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes() -> int:
    """Peak resident memory since the reset; since the process started where resets do not work."""
    with suppress(OSError):
        for line in (_PROCESS / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
