"""This machine's processors, as far as they are known without importing torch."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

_FACTS = Path("/proc/cpuinfo")
_MULTIPLY_BFLOAT16 = {"amx_bf16", "avx512_bf16"}
_TIMEOUT_S = 30


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


def list_gpus() -> Sequence[str]:
    """The GPUs that processes started from here may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return _query_gpus("index")


def describe_processors() -> Sequence[str]:
    """This machine's CPU and GPUs: on others the same work may differ in its last bits."""
    names = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU", "Features")
    lines = _lines(_FACTS)
    first = lines[: lines.index("")] if "" in lines else lines
    cpu = [line for line in first if line.startswith(names)]
    return [*cpu, *list_gpus(), *_query_gpus("gpu_uuid")]


def _query_gpus(key: str) -> Sequence[str]:
    """What nvidia-smi says of each GPU; nothing where there are none."""
    if not has_gpu():
        return []
    command = ["nvidia-smi", f"--query-gpu={key}", "--format=csv,noheader"]
    try:
        listed = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.split()


def available_threads() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def free_ram_gib() -> float:
    """Free memory of this machine or container."""
    lines = dict(line.split(":", 1) for line in _lines(Path("/proc/meminfo")))
    available = int(lines.get("MemAvailable", "0 kB").split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = (_lines(group / name) for name in ("memory.max", "memory.current"))
    if limit and used and limit[0].isdigit():
        available = min(available, int(limit[0]) - int(used[0]))
    return available / 2**30


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
