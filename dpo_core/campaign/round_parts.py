"""The columns of RoundMetrics that are no single numbers, as metrics.json has them.

What is None or empty here was not measured, or not written by the version that made the round.
"""

from pydantic import BaseModel, ConfigDict

from dpo_core.campaign.metric_fields import Number


class Part(BaseModel):
    """Base of these parts; what it does not name is kept."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Estimate(Part):
    """A number with the ends of its interval."""

    estimate: Number = None
    low: Number = None
    high: Number = None


class JudgeNumbers(Part):
    """How a judge behaved; labeling.judges.behaviour names the rest."""

    pairs: int | None = None


class LabelNumbers(Part):
    """What people were asked; the facts of step `labels` name the rest."""

    asked: dict[str, int] = {}
    answers: dict[str, int] = {}


class Agreed(Part):
    """How far sources agree, on `n` pairs or answers."""

    value: Number = None
    n: int | None = None
    low: Number = None
    high: Number = None


class AgreementNumbers(Part):
    """alpha: among people. kappa: of each judge with people. with_others: of each person."""

    mean: Agreed | None = None
    alpha: Agreed | None = None
    kappa: dict[str, Agreed] = {}
    with_others: dict[str, Agreed] = {}


class FindingNumbers(Part):
    """A finding of the audit: `count` of `of`."""

    count: int = 0
    of: int | None = None
    unit: str | None = None
    share: Number = None


class DecidedNumbers(Part):
    """Comparisons, and how many of them were decided. unjudged, unjudged_opponent: where only that
    side's answer could not be judged. why: reason → undecided ones."""

    comparisons: int = 0
    decided: int = 0
    unjudged: int = 0
    unjudged_opponent: int = 0
    why: dict[str, int] = {}


class ForgottenExample(Part):
    """A prompt that an earlier round's policy answered better."""

    prompt_id: str = ""


class ForgottenNumbers(Part):
    """Such prompts, of those compared. gained: where this policy answered better than all."""

    count: int = 0
    compared: int = 0
    gained: int = 0
    examples: tuple[ForgottenExample, ...] = ()
    sentence: str = ""


class SliceNumbers(Part):
    """The win rate within a slice; see dpo_core.evaluation.slices."""

    prompts: int | None = None
    win_rate: Number = None
    low: Number = None
    high: Number = None
    p_value: Number = None
    p_adjusted: Number = None
    flagged: bool = False


class SuiteNumbers(Part):
    """A policy's result in one regression suite.

    prompts: with a scored answer. answers: all of them; `compared`: scored for both the policy and
    the incumbent. score: mean with its interval; `before`, `base`: means of incumbent and base.
    change: mean gain over the incumbent, paired by prompt and seed, with its interval by resampling
    prompts.

    failed: the whole interval of the change lies below −may_fall. If all answers fall equally the
    interval has no width, and the suite fails however few its prompts are. It also fails if the
    rule scored some of the incumbent's answers and none of the new ones.
    """

    prompts: int | None = None
    answers: int = 0
    compared: int = 0
    score: Number = None
    low: Number = None
    high: Number = None
    before: Number = None
    base: Number = None
    change: Number = None
    change_low: Number = None
    change_high: Number = None
    may_fall: Number = None
    failed: bool = False


class OverlapNumbers(Part):
    """Held-out prompts that share a long passage with a training prompt."""

    prompts: int = 0
    of: int = 0
    ngram: int = 0
    examples: tuple[str, ...] = ()


class StepCost(Part):
    """What a step took."""

    seconds: Number = None
    cpu_seconds: Number = None
    gpu_seconds: Number = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    money: Number = None


class CampaignCost(Part):
    """The columns that say what rounds cost."""

    gpu_seconds: Number = None
    cpu_seconds: Number = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    labels_by_source: dict[str, int] = {}
    money: Number = None
    money_by: dict[str, Number] = {}
    currency: str | None = None
    cost_by_step: dict[str, StepCost] = {}
