"""The checks, in order of worth: what is right comes before what is fast."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """run: import path of a function that takes a `results.Bench`.

    limit_s: a check that takes longer hangs. least_s: with less time left it is not begun.
    """

    title: str
    run: str
    limit_s: float
    least_s: float = 20.0


CHECKS: Mapping[str, Check] = {
    "attention": Check(
        "Attention within packed pairs is that of a dense mask in float64",
        "benchmarks.gpu.attention:attention",
        limit_s=180,
    ),
    "fast_pass": Check(
        "The fast pass is the plain pass", "benchmarks.gpu.passes:fast_pass", limit_s=240
    ),
    "fused_layers": Check(
        "Fused layers are the model's own", "benchmarks.gpu.passes:fused_layers", limit_s=60
    ),
    "lora": Check("A round with LoRA", "benchmarks.gpu.rounds:lora", limit_s=120),
    "resume": Check(
        "A round that was stopped ends bit-equal", "benchmarks.gpu.rounds:resume", limit_s=120
    ),
    "demo_round": Check(
        "The demo's round, sampled by transformers", "benchmarks.gpu.rounds:demo_round", limit_s=180
    ),
    "round_0.5B": Check(
        "A DPO round of 0.5 B parameters, all trained",
        "benchmarks.gpu.speed:round_of_half_a_billion",
        limit_s=240,
        least_s=40,
    ),
    "round_7B": Check(
        "A DPO round of 7 B parameters with LoRA",
        "benchmarks.gpu.speed:round_of_seven_billion",
        limit_s=300,
        least_s=60,
    ),
    "sampling": Check(
        "Sampling and log-probs by transformers, 0.5 B parameters",
        "benchmarks.gpu.speed:sampling",
        limit_s=120,
        least_s=30,
    ),
}
