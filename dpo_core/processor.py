"""What this machine computes with, as far as it can be told without importing torch."""

import os
import shutil
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")
_MULTIPLY_BFLOAT16 = {"amx_bf16", "avx512_bf16"}


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices itself: AMX or AVX512-BF16, as Linux says.

    Elsewhere bfloat16 is computed in float32 after all, and is slower than that.
    """
    try:
        lines = _FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _MULTIPLY_BFLOAT16.isdisjoint(flags.split())


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU, as its tools say."""
    return shutil.which("nvidia-smi") is not None


def available_threads() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0))
