"""A campaign's config, composed of its sections."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dpo_core.campaign.prices import PricesConfig
from dpo_core.config import Count, PolicyConfig, Section, SftConfig
from dpo_core.gate.config import GateConfig, StopConfig
from dpo_core.loss_options import traits_of
from flows.config import checks
from flows.config.compute import ComputeConfig
from flows.config.defaults import DEFAULTS, FIRST
from flows.config.evaluation import HeldOutConfig
from flows.config.schedule import NotifyConfig, RetriesConfig, ScheduleConfig, Track
from flows.config.storage import StorageConfig
from flows.config.training import DataConfig, KeepLast, TrainingSection
from generation.config import PromptsConfig, SamplingConfig
from labeling.config import (
    AggregationConfig,
    AuditConfig,
    BudgetConfig,
    JudgeConfig,
    PairsConfig,
    PeopleConfig,
)
from labeling.judges.config import AnyJudgeConfig, gives_scores
from labeling.pairs.draw_sizes import PairGoal

_DRAWS_PAID = 4
"""Default of sampling.budget_tokens, in draws of `prompts.per_round` prompts with all answers at
full length."""


class CampaignConfig(Section):
    """A whole campaign. Each section is defined beside the code it configures."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="letters, digits, dots, dashes; names the default folder, campaigns/NAME",
    )
    seed: int = Field(0, ge=0, description="seed from which all others derive")
    rounds: Count = Field(3, description="rounds to play; more can be added later")
    data_dir: str | None = Field(None, description="replaces {data_dir} in paths and arguments")
    threads: Count | Literal["auto"] = Field("auto", description="per process; fixed at creation")
    keep_policies: Literal["all", "promoted"] | KeepLast = Field(
        "all",
        description="promoted: remove the weights of refused candidates; last: k: keep those of "
        "the last k rounds and the promoted policy",
    )
    defaults: int = Field(
        DEFAULTS,
        ge=FIRST,
        le=DEFAULTS,
        description="version of the defaults for omitted keys; a campaign keeps the one it was "
        "created with",
    )
    policy: PolicyConfig
    sft: SftConfig | None = None
    prompts: PromptsConfig
    sampling: SamplingConfig = SamplingConfig()
    judge: JudgeConfig
    evaluation_judge: JudgeConfig | None = Field(
        None, description="judges held-out answers; none: the automatic members of judge"
    )
    people: PeopleConfig | None = Field(None, description="how people label")
    budget: BudgetConfig = BudgetConfig()
    pairs: PairsConfig = PairsConfig()
    aggregation: AggregationConfig = AggregationConfig()
    audit: AuditConfig = AuditConfig()
    data: DataConfig = DataConfig()
    training: TrainingSection = TrainingSection()
    compute: ComputeConfig = ComputeConfig()
    storage: StorageConfig = StorageConfig()
    evaluation: HeldOutConfig = HeldOutConfig()
    gate: GateConfig = GateConfig()
    stop: StopConfig = StopConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    retries: RetriesConfig = RetriesConfig()
    notify: NotifyConfig = NotifyConfig()
    prices: PricesConfig = PricesConfig()
    track: Track = Field((), description="mlflow, trackio, wandb, or a list of them")

    @property
    def held_out_judge(self) -> AnyJudgeConfig:
        """The judge of held-out answers, whose human members are not asked."""
        return self.evaluation_judge or self.judge

    @property
    def people_config(self) -> PeopleConfig:
        """How people label, with its defaults where the section is missing."""
        return self.people or PeopleConfig()

    @property
    def goal(self) -> PairGoal | None:
        """The pairs that each round samples for; None if it draws `prompts.per_round` once."""
        sampling, per_round = self.sampling, self.prompts.per_round
        if sampling.until_pairs is None:
            return None
        longest = self.answers_each * sampling.max_tokens
        budget = sampling.budget_tokens or _DRAWS_PAID * per_round * longest
        return PairGoal(sampling.until_pairs, budget, per_round, longest)

    @property
    def answers_each(self) -> int:
        """Answers to each prompt of a round: the policy's, and as many of `pairs.rejected_from`."""
        answering = 1 if self.pairs.rejected_from is None else 2
        return answering * self.sampling.samples_per_prompt

    @property
    def takes_soft_labels(self) -> bool:
        """Whether p_chosen may be anything but 1."""
        return traits_of(self.training.loss).soft_labels

    @field_validator("keep_policies", mode="before")
    @classmethod
    def _keep_policies(cls, value: Any) -> Any:
        """One message for a wrong value, instead of one for each member of the union."""
        last = value.get("last") if isinstance(value, dict) and len(value) == 1 else None
        if value in ("all", "promoted") or (type(last) is int and last >= 1):
            return value
        raise ValueError(
            "keep_policies must be all, promoted, or last: k with a k of at least 1 "
            f"(found {value!r})"
        )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "promote" in raw:
            raise ValueError(
                "promote is now called gate, with the same keys: rename it. gate.use defaults to "
                "lower, the lower bound of the win rate; gate.use estimate is what promote did"
            )
        return raw

    @model_validator(mode="after")
    def _truncated(self) -> "CampaignConfig":
        """The rule for cut answers by the judge, so that a campaign's stored config says it."""
        if self.pairs.truncated == "auto":
            rule = "reject" if gives_scores(self.judge) else "drop"
            pairs = self.pairs.model_copy(update={"truncated": rule})
            object.__setattr__(self, "pairs", pairs)
        return self

    @model_validator(mode="after")
    def _possible(self) -> "CampaignConfig":
        checks.check_sources(self.policy, self.prompts, self.sft)
        checks.check_judges(self.judge, self.evaluation_judge, self.people)
        checks.check_people(self.people_config, self.budget.human_labels, self.judge)
        checks.check_sampling(self.sampling, self.answers_each, self.compute)
        checks.check_compute(self.compute, self.training, self.storage)
        checks.check_pairs(self.pairs, self.judge)
        checks.check_rejected(self.pairs, self.judge, self.training, self.rounds)
        checks.check_draws(self.prompts, self.sampling, self.pairs, self.judge)
        checks.check_data(self.data)
        checks.check_gate(self.gate, self.sampling)
        checks.check_certified(self.gate, self.evaluation)
        checks.check_stop(self.stop, self.prices, self.judge)
        checks.check_reference_logps(self.training, self.sampling, self.data)
        checks.check_aggregation(self.aggregation, self.training.loss, self.judge)
        return self
