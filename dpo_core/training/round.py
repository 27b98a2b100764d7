"""State shared by all parts of one round's training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dpo_core.children import Report
from dpo_core.config import TrainingConfig
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import TrainingPair, optimiser_steps
from dpo_core.training.passes.choose_path import choose_path, micro_batches
from dpo_core.training.passes.pass_over_pairs import Enter, PairPath
from dpo_core.training.passes.token_budget import token_budget
from dpo_core.training.processes.team import ALONE, Team
from dpo_core.training.runtime import Runtime


@dataclass(frozen=True)
class Round:
    """One round's config and model. A process of a team trains on its share of each optimiser step.

    path: how pairs go through the model. budget: tokens per forward pass. report: gets progress.
    """

    config: TrainingConfig
    seed: int
    runtime: Runtime
    model: Any
    path: PairPath
    budget: int
    report: Report
    team: Team = ALONE

    def micro_batches(self, step: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
        """This process's pairs of one optimiser step, in batches within the budget."""
        return self.micro_batches_by_rank(step)[self.team.rank]

    def micro_batches_by_rank(self, step: Sequence[TrainingPair]) -> list[list[list[TrainingPair]]]:
        shares = self.team.shares(step)
        return [list(micro_batches(share, self.path, self.budget)) for share in shares]

    def idle_batches(self, step: Sequence[TrainingPair]) -> list[list[TrainingPair]]:
        """Batches that this process runs without effect while others still have pairs.

        A sharded model runs in all processes at once, or in none.
        """
        if self.team.size == 1:
            return []
        counts = [len(batches) for batches in self.micro_batches_by_rank(step)]
        shortest = min(step, key=lambda pair: (pair.tokens, pair.pair_id))
        return [[shortest]] * (max(counts) - counts[self.team.rank])

    def steps_of_epoch(
        self, pairs: Sequence[TrainingPair], epoch: int
    ) -> Iterator[list[TrainingPair]]:
        """The pairs of each optimiser step, which depend on seed, epoch and pair ids only."""
        return optimiser_steps(pairs, self.config.pairs_per_step, self.seed, epoch)

    def steps(self, pairs: Sequence[TrainingPair]) -> int:
        """Optimiser steps of all epochs."""
        return self.config.epochs * math.ceil(len(pairs) / self.config.pairs_per_step)


@dataclass(frozen=True)
class RoundSetting:
    """The setting of a round, in which its models are used one after the other."""

    job: DpoJob
    pairs: Sequence[TrainingPair]
    runtime: Runtime
    report: Report
    team: Team = ALONE

    @cached_property
    def budget(self) -> int:
        """Tokens per forward pass through a model of this round."""
        return token_budget(self.job.config, self.runtime, self.job.policy_dir, self.team.size)

    def round(self, model: Any, enter: Enter | None) -> tuple[Round, str]:
        """(the round with this model, why its path is not the fast one, or an empty text)."""
        config = self.job.config
        path, why_not_fast = choose_path(model, self.pairs, config, self.runtime, enter)
        round = Round(
            config,
            self.job.seed,
            self.runtime,
            model,
            path,
            self.budget,
            self.report,
            self.team,
        )
        return round, why_not_fast
