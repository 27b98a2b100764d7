"""Throughput of a round: tokens per second, use of the device, padding."""

from collections.abc import Sequence

from dpo_core.training.metrics.pair_flops import PairFlops
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.round import Round

Counts = dict[str, float]
"""Sums over optimiser steps: `tokens` and `flops` that their pairs need (each prompt once), tokens
that went `through_model`, of these `padding`, and wall-clock `seconds`."""


class Throughput:
    """Counts steps, and turns counts into rates.

    peak_flops: peak operations per second of one process's device. Without it MFU, useful
    operations per second as a share of all devices' peak, is None.
    """

    def __init__(self, round: Round, peak_flops: float | None) -> None:
        self._round = round
        self._flops = PairFlops.from_model(round.model)
        self._all_peaks = peak_flops * round.team.size if peak_flops else None

    def counts(self, pairs: Sequence[TrainingPair], seconds: float) -> Counts:
        """The counts of one optimiser step on these pairs, over all processes of the team."""
        by_rank = self._round.micro_batches_by_rank(pairs)
        batches = [batch for batches in by_rank for batch in batches]
        return {
            "tokens": sum(pair.tokens for pair in pairs),
            "flops": sum(self._flops.step(pair) for pair in pairs),
            "through_model": sum(self._round.path.tokens(batch) for batch in batches),
            "padding": sum(self._round.path.padding(batch) for batch in batches),
            "seconds": seconds,
        }

    def rates(self, counts: Counts) -> dict[str, float | None]:
        """Rates from counts, and this process's peak memory so far."""
        seconds = max(counts["seconds"], 1e-9)
        flops_per_second = counts["flops"] / seconds
        return {
            "padding_share": counts["padding"] / counts["through_model"],
            "tokens_per_second": counts["tokens"] / seconds,
            "flops_per_second": flops_per_second,
            "mfu": flops_per_second / self._all_peaks if self._all_peaks else None,
            "peak_memory_gib": self._round.runtime.peak_memory_gib(),
        }
