"""Passes without gradients side by side on a CPU, each on one thread.

Operations of small models are short: two threads within a pass through SmolLM2-135M took 0.73 of
one thread's time, two passes side by side take 0.56 (benchmarks/2026-12-01-log-probs.md).
Log-probs do not depend on how many threads there are.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import torch

from dpo_core.training.pairs.batching import PromptGroup
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.pass_over_pairs import PairPath, TokenLogps

Batches = Sequence[Sequence[PromptGroup]]
ComputeLogps = Callable[[Batches], Iterator[TokenLogps]]
"""compute(batches) yields the log-probs of each batch, in their order."""


@contextmanager
def side_by_side(path: PairPath) -> Iterator[ComputeLogps]:
    """Within, the passes of the fast path use as many threads as torch has, one each.

    The plain path and GPUs do one pass at a time.
    """
    threads = torch.get_num_threads()
    if not isinstance(path, FastPath) or path.runtime.device.type != "cpu":
        yield lambda batches: map(path.logps, batches)
        return
    mine = threading.local()

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread
        mine.path = path.for_thread()

    def compute(batch: Sequence[PromptGroup]) -> TokenLogps:
        own: FastPath = mine.path
        return own.logps(batch)

    replaced = nullcontext() if path.layers is None else path.layers.in_use()
    pool = ThreadPoolExecutor(threads, initializer=begin)
    try:
        with replaced:
            yield lambda batches: pool.map(compute, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
