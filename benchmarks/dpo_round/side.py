"""What both sides share: the clock, the memory that the round adds, and the printed result.

A GPU that torch sees is measured, else the process: a benchmark of CPUs hides GPUs from its sides.
"""

import gc
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import forget_peak_memory, peak_memory_mib

THREADS = 1


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def warm_up() -> None:
    """Load what torch loads on first use, so that neither side pays for it.

    On a GPU kernels are compiled as well, for which each side goes through a round of a model of
    one layer first (`models`).
    """
    import torch
    from torch.nn import functional as F

    if on_gpu():
        return
    torch.set_num_threads(THREADS)
    weight = torch.nn.Parameter(torch.randn(64, 64))
    optimiser = torch.optim.AdamW([weight], fused=True)
    row = torch.randn(1, 1, 8, 8)
    F.scaled_dot_product_attention(row, row, row, is_causal=True)
    (torch.randn(8, 64) @ weight).sum().backward()
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    optimiser.step()


def models(folder: Path) -> list[Path]:
    """What a side goes through a round with: the last one counts, one before it warms up."""
    return [path for path in (folder / "warm", folder / "model") if path.exists()]


def now() -> float:
    """Seconds: of this process's processors, or by the clock once the GPU has done its work."""
    import torch

    if not on_gpu():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def timed(result: dict[str, Any]) -> Iterator[None]:
    """Add the CPU-seconds and seconds that the work within took."""
    now()
    started, cpu_started = time.monotonic(), time.process_time()
    yield
    now()
    result["cpu_seconds"] = time.process_time() - cpu_started
    result["seconds"] = time.monotonic() - started


@contextmanager
def memory_added(result: dict[str, Any]) -> Iterator[None]:
    """Add the MiB by which the work within raised the peak: of the GPU's memory that torch had
    allocated, or of the process's resident memory."""
    import torch

    if on_gpu():
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        allocated = torch.cuda.memory_allocated()
        yield
        result["memory_mib"] = (torch.cuda.max_memory_allocated() - allocated) / 2**20
        return
    pid = os.getpid()
    forget_peak_memory(pid)
    before = peak_memory_mib(pid)
    yield
    result["memory_mib"] = peak_memory_mib(pid) - before


def show(result: dict[str, Any]) -> None:
    print("\n" + json.dumps(result), flush=True)
