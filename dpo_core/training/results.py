"""What the training process hands back. Loads no torch."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from dpo_core.jobs import JobResult
from dpo_core.step_facts import StepFacts
from dpo_core.training.metrics.early_warnings import EarlyWarning


class RuntimeFacts(StepFacts):
    """What training ran on. All but the peak memory, in GiB, repeat between equal runs."""

    device: str = ""
    dtype: str = ""
    threads: int = 1
    peak_memory_gib: float | None = None


class RoundStartFacts(StepFacts):
    """How a round started: where its reference's log-probs came from, and whether its pairs were
    sampled by its policy.

    reference_cached: log-probs that were found cached. sampling_gap: mean difference between the
    sampler's log-probs and the policy's, nats per token. from_sampling_…: the check of the
    sampler's, where they were to be the reference's.
    """

    reference_source: str | None = None
    reference_cached: int = 0
    sampling_gap: float | None = None
    warnings: list[EarlyWarning] = Field(default_factory=list)
    from_sampling_checked: int = 0
    from_sampling_largest: float | None = None
    from_sampling_mean: float | None = None
    from_sampling_refused: str = ""

    def warned(self, later: Sequence[EarlyWarning]) -> Self:
        """These facts with warnings that were given later."""
        return self.model_copy(update={"warnings": [*self.warnings, *later]})


class CurveSummary(StepFacts):
    """A round's curve (metrics.curves) as a whole: means over the last epoch, then speed over all
    steps. first_…: before any update."""

    loss: float | None = None
    accuracy: float | None = None
    margin: float | None = None
    margin_spread: float | None = None
    chosen_logratio: float | None = None
    rejected_logratio: float | None = None
    implicit_reward_chosen: float | None = None
    implicit_reward_rejected: float | None = None
    gradient_weight: float | None = None
    length_correlation: float | None = None
    entropy: float | None = None
    chosen_tokens: float | None = None
    rejected_tokens: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    first_loss: float | None = None
    first_margin_max: float | None = None
    steps: int = 0
    train_tokens: int = 0
    padding_share: float | None = None
    tokens_per_second: float | None = None
    flops_per_second: float | None = None
    mfu: float | None = None


class DpoResult(RuntimeFacts, RoundStartFacts, CurveSummary, JobResult):
    """A trained round. policy: id of its policy; reference_policy: of its reference.

    resumed_from_step: optimiser steps done before the last start. path: through the model, with the
    reason why it is not the fast one. peak_flops: of the device `peak_of`, in operations per second
    of one process. nodes, attempts: on a cluster, the machines that trained it,
    and how often it was begun.
    """

    policy: str = ""
    reference_policy: str | None = None
    pairs: int = 0
    resumed_from_step: int = 0
    processes: int = 1
    path: str = ""
    micro_batch_tokens: int = 0
    why_not_fast: str = ""
    trained_parameters: int = 0
    peak_of: str = ""
    peak_flops: float | None = None
    seconds_reference: float = 0.0
    seconds_steps: float = 0.0
    nodes: tuple[str, ...] = ()
    attempts: int = 0


class ChosenSettings(StepFacts):
    """Settings of a round that its config may leave open."""

    beta: float | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    pairs_per_step: int | None = None


class TrainingFacts(DpoResult):
    """The facts of step `training`. optimiser_state: where the optimiser's first state was from."""

    optimiser_state: str = ""
    settings: ChosenSettings = ChosenSettings()


class BaseFacts(RuntimeFacts, JobResult):
    """The facts of step `base`. final_loss: of the warm start, nats per completion token."""

    policy: str = ""
    steps: int = 0
    final_loss: float | None = None
    seconds_build: float = 0.0
    seconds_sft: float = 0.0


class BaseResult(BaseFacts):
    """The base policy. rows_in, rows_kept, dropped (reason → rows): of the warm start."""

    rows_in: int = 0
    rows_kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)


class AverageResult(JobResult):
    """The average of two policies. policy: its id."""

    policy: str = ""
    rate: float = 0.0


class LogpsResult(JobResult):
    """Log-probs of completions. why_not: why nothing was written, or empty. seconds_load: until the
    policy was loaded."""

    why_not: str = ""
    seconds_load: float = 0.0
