"""What all parts of one round's training share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.training.batching import TrainingPair, optimiser_steps
from dpo_core.training.choose_path import micro_batches, token_budget
from dpo_core.training.pass_over_pairs import PairPath
from dpo_core.training.runtime import Runtime


@dataclass(frozen=True)
class Round:
    """One round's config and model; `path` goes through the model, `report` hears of progress."""

    config: TrainingConfig
    seed: int
    runtime: Runtime
    model: Any
    path: PairPath
    report: Report

    def micro_batches(self, step: Sequence[TrainingPair]) -> Iterator[list[TrainingPair]]:
        """The pairs of one optimiser step, as many at a time as the token budget allows."""
        return micro_batches(step, self.path, token_budget(self.config, self.runtime))

    def steps_of_epoch(
        self, pairs: Sequence[TrainingPair], epoch: int
    ) -> Iterator[list[TrainingPair]]:
        """The pairs of each optimiser step; they depend on nothing but seed, epoch and pair ids."""
        return optimiser_steps(pairs, self.config.pairs_per_step, self.seed, epoch)

    def steps(self, pairs: Sequence[TrainingPair]) -> int:
        """Optimiser steps of all epochs."""
        return self.config.epochs * math.ceil(len(pairs) / self.config.pairs_per_step)
