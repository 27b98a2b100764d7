"""What both sides share: the clock, the memory that the round adds, and the printed result."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.measure import forget_peak_memory, peak_memory_mib

THREADS = 1


def warm_up() -> None:
    """Load what torch loads on first use, so that neither side pays for it."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(THREADS)
    weight = torch.nn.Parameter(torch.randn(64, 64))
    optimiser = torch.optim.AdamW([weight], fused=True)
    row = torch.randn(1, 1, 8, 8)
    F.scaled_dot_product_attention(row, row, row, is_causal=True)
    (torch.randn(8, 64) @ weight).sum().backward()
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    optimiser.step()


@contextmanager
def measured(result: dict[str, Any]) -> Iterator[None]:
    """Add the CPU-seconds, seconds and MiB of peak memory that the work within took."""
    pid = os.getpid()
    forget_peak_memory(pid)
    before = peak_memory_mib(pid)
    started, cpu_started = time.monotonic(), time.process_time()
    yield
    result["cpu_seconds"] = time.process_time() - cpu_started
    result["seconds"] = time.monotonic() - started
    result["memory_mib"] = peak_memory_mib(pid) - before


def show(result: dict[str, Any]) -> None:
    print("\n" + json.dumps(result), flush=True)
