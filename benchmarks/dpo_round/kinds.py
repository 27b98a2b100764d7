"""The kinds of machine: what is measured on each, by which clock, and what is demanded there."""

import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.dpo_round import bfloat16, gpu, runs, workload


@dataclass(frozen=True)
class Kind:
    """One kind of machine.

    clock, unit: the measured seconds that count, and how they are printed. ceiling, dtype: what
    multiplies matrices of that dtype as fast as it can. settings: of TRL, of which `plain` is TRL
    as users run it; setting_pairs: pairs that each is tried on.
    peers: what takes turns with ours, TRL as users run it or its strongest setting.
    speedup, mfu: floors by model; memory: of ours as a share of the peer's, at most.
    loss_difference: of a step's loss, relative to the loss or, where that is larger, `least_loss`.
    environment: of both sides' processes. warm: whether both go through a round of a model of one
    layer before the clock starts.
    """

    device: str
    clock: str
    unit: str
    ceiling: str
    dtype: str
    models: Mapping[str, workload.Model]
    lengths: Callable[[random.Random], workload.Lengths]
    settings: Mapping[str, Mapping[str, Any]]
    plain: str
    setting_pairs: int
    speedup: Mapping[str, Mapping[str, float]]
    mfu: Mapping[str, float]
    loss_difference: float
    least_loss: float = 0.0
    memory: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: bool = False
    peers: Sequence[str] = ("trl_plain", "trl_strongest")

    def difference(self, ours: float, theirs: float) -> float:
        """Of one step's losses."""
        return abs(ours - theirs) / max(abs(theirs), self.least_loss)


CPU = Kind(
    device="cpu",
    clock="cpu_seconds",
    unit="CPU-s",
    ceiling="one thread",
    dtype="float32",
    models=workload.MODELS,
    lengths=workload.usual_lengths,
    settings=runs.SETTINGS,
    plain="batch 8",
    setting_pairs=16,
    speedup={
        "A": {"trl_plain": 6.0, "trl_strongest": 1.4},
        "B": {"trl_plain": 14.0, "trl_strongest": 1.4},
    },
    mfu={"A": 0.55, "B": 0.55},
    loss_difference=1e-4,
    memory={"trl_plain": 1 / 6, "trl_strongest": 1.0},
    environment={"CUDA_VISIBLE_DEVICES": ""},
)

CPU_BFLOAT16 = replace(
    CPU,
    dtype="bfloat16",
    models=bfloat16.MODELS,
    lengths=workload.short_lengths,
    settings=bfloat16.SETTINGS,
    plain=bfloat16.DEFAULTS,
    setting_pairs=8,
    peers=("trl_strongest",),
    speedup={"C": {"trl_strongest": 1.5}},
    mfu={"C": 0.35},
    loss_difference=2e-2,
    least_loss=math.log(2),
    memory={"trl_strongest": 0.6},
)

CUDA = Kind(
    device="cuda",
    clock="seconds",
    unit="s",
    ceiling="the GPU",
    dtype="bfloat16",
    models=gpu.MODELS,
    lengths=workload.long_lengths,
    settings=gpu.SETTINGS,
    plain=gpu.DEFAULTS,
    setting_pairs=64,
    speedup={name: {"trl_plain": 2.0, "trl_strongest": 1.4} for name in gpu.MODELS},
    mfu={"7B": 0.40},
    # An estimate, for no GPU was to be had: bfloat16 rounds by 2⁻⁹ of a value, and some hundred
    # roundings of random sign between a token and its logit, of size 1, come to 2e-2 nats. Over a
    # completion of 240 tokens that is 0.3 nats, times β / 2 and √2 for two completions 0.02 of a
    # pair's loss, 8e-3 of a step of eight. Both sides round anew: 1e-2, and 2e-2 with some room.
    # A loss far below ln 2 has no smaller errors, so it is not compared with itself.
    loss_difference=2e-2,
    least_loss=math.log(2),
    environment={
        # TRL takes one GPU per process, and so does the comparison.
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    },
    warm=True,
)

KINDS = {"cpu": CPU, "cpu-bfloat16": CPU_BFLOAT16, "cuda": CUDA}
