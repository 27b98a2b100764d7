"""MKL on AMD's processors, where it takes slow kernels unless it hears that the CPU is Intel's."""

import subprocess
from pathlib import Path

_SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"


def cpu_is_amd() -> bool:
    return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()


def intel_kernels(folder: Path) -> Path:
    """A library for LD_PRELOAD that answers MKL's question. Needs a C compiler."""
    library = folder / "intel_kernels.so"
    if not library.exists():
        source = folder / "intel_kernels.c"
        source.write_text(_SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library
