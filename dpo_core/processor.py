"""This machine's processors, as far as they are known without importing torch."""

import os
import shutil
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")
_MULTIPLY_BFLOAT16 = {"amx_bf16", "avx512_bf16"}


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices natively: AMX or AVX512-BF16, by /proc/cpuinfo.

    Other CPUs compute bfloat16 in float32, which is slower than float32 itself.
    """
    try:
        lines = _FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _MULTIPLY_BFLOAT16.isdisjoint(flags.split())


def has_gpu() -> bool:
    """Whether nvidia-smi is installed, and with it an NVIDIA GPU."""
    return shutil.which("nvidia-smi") is not None


def available_threads() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0))
