"""Configuration of training and evaluation. Loading it imports nothing heavy."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from dpo_core.loss_options import TRAITS, Divergence, LossName, LossOptions, check_options
from dpo_core.reference_options import check_reference


class Section(BaseModel):
    """Base of every config section: unknown keys and numbers that are none are refused, values are
    frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_for_a_number(cls, value: Any, field: ValidationInfo) -> Any:
        """Pydantic takes true as 1, and YAML takes yes and on as true: `rounds: yes` is no 1."""
        if isinstance(value, bool) and not _may_be_bool(cls.model_fields[field.field_name or ""]):
            raise PydanticCustomError("no_bool", "Input should be a value, not yes or no")
        return value


def _may_be_bool(field: FieldInfo) -> bool:
    """Whether a yes or no, or whatever a validator of its own makes of it, can be its value."""
    return bool in (found := list(_parts(field.annotation))) or Any in found


def _parts(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class PolicyConfig(Section):
    """Where the base policy comes from: a folder, GGUF file or hub id, or a function that builds
    one.

    `build` is called as `build(out_dir: Path, seed: int, **build_args)` in a child process and
    leaves a model and its tokenizer there, as `save_pretrained` writes them.
    """

    model: str | None = Field(None, description="folder, .gguf file or hub id of the base policy")
    revision: str | None = Field(None, description="hub revision of `model`")
    build: str | None = Field(None, description="`package.module:function` that makes the model")
    build_args: dict[str, str | int | float | bool] = Field(default_factory=dict)


class SftConfig(Section):
    """Supervised warm start of the base policy: AdamW, linear decay, loss on completions only."""

    path: str | None = Field(None, description="JSONL or parquet of prompts with completions")
    function: str | None = Field(
        None, description="`package.module:function(seed)` that yields {prompt, completion} rows"
    )
    prompt_field: str = "prompt"
    completion_field: str = "completion"
    steps: Count = 400
    batch_size: Count = 64
    learning_rate: Positive = 2e-3
    warmup_steps: int = Field(20, ge=0)
    max_length: Count = Field(512, description="longer examples are dropped and counted")


class LoraConfig(Section):
    """Low-rank adapters: fresh ones each round, merged into full weights at its end."""

    rank: Count = 16
    alpha: Positive = Field(32.0, description="adapters are scaled by alpha / rank")
    rslora: bool = Field(False, description="scale by alpha / √rank instead: high ranks learn")
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = Field(
        "all-linear",
        description="names of linear layers such as q_proj; all-linear: all but the output head",
    )


class EmaReference(Section):
    """An average of policies: each round the reference goes the share `ema` of the way from where
    it was to the policy that samples. With 1 it is that policy."""

    ema: PositiveShare


class EveryReference(Section):
    """A reset each `every` rounds: the policy that sampled in the first of them. With 1, reset."""

    every: Count


RESULT_NEUTRAL_KEYS = frozenset(
    {
        "micro_batch_tokens",
        "gradient_checkpointing",
        "checkpoint_every",
        "processes",
        "torchrun",
        "kl_budget_nats",
    }
)
"""Keys of TrainingOptions that change how training runs, and its result in the last bits at
most."""


class TrainingOptions(Section):
    """One DPO round, but for what TrainingConfig adds. `beta` is the strength of the pull to the
    reference: small lets go."""

    loss: LossName = "sigmoid"
    beta: Positive = 0.1
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of preferences the wrong way round"
    )
    divergence: Divergence = "reverse_kl"
    divergence_alpha: float = 0.5
    discopop_tau: PositiveShare = 0.05
    simpo_gamma: float = Field(0.5, description="target margin of `simpo`")
    nll_weight: float = Field(0.0, ge=0, description="weight of a term −log π(chosen) per token")
    ld_alpha: Share | None = Field(
        None, description="LD-DPO: what tokens beyond the shorter completion's length count"
    )
    wpo: bool = Field(False, description="weigh pairs by how likely the policy is to produce them")
    reference: Literal["reset", "base", "none"] | EmaReference | EveryReference = Field(
        "reset",
        description="what the policy is compared with; reset: the policy that sampled (losses "
        "without a reference have none); base: the first policy of all; ema: rate, an average; "
        "every: k, a reset each k rounds; none: nothing, for losses without a reference",
    )
    reference_logps: Literal["pass", "from_sampling"] = Field(
        "pass",
        description="from_sampling: the log-probs that the sampler returned, in place of a pass "
        "of the reset reference",
    )
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    micro_batch_tokens: Count | Literal["auto"] = Field(
        "auto", description="tokens of one forward pass; moves no number"
    )
    path: Literal["auto", "fast", "plain"] = Field(
        "auto", description="pass through the model; auto: fast where the model allows it"
    )
    epochs: Count = 1
    max_grad_norm: Positive = 1.0
    weight_decay: float = Field(0.0, ge=0)
    kl_budget_nats: Positive | None = Field(
        None,
        description="warn when the policy will move further, nats per completion; null: half a nat "
        "per token",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of forward and backward; weights and optimiser stay float32; auto: as "
        "`sampling.dtype`, float32 on a GPU without bfloat16",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute each layer again in backward: less memory; moves no number"
    )
    optimiser_state: Literal["fresh", "carried"] = Field(
        "fresh",
        description="carried: AdamW goes on with the moments it had at the end of the round that "
        "trained this round's starting policy; a round without such a predecessor starts fresh",
    )
    lora: LoraConfig | None = None
    processes: Count | Literal["auto"] = Field(
        "auto",
        description="that train together on this machine; auto: one for each GPU, or one alone",
    )
    torchrun: list[str] = Field(
        [],
        description="torchrun's options for several machines, such as --nnodes=2 --node-rank=0",
    )
    checkpoint_every: Count | Literal["auto"] = Field(
        "auto",
        description="optimiser steps between checkpoints, from which a killed round goes on; auto: "
        "a minute of training, and at most a twentieth of the time",
    )

    @field_validator("reference", mode="before")
    @classmethod
    def _reference(cls, value: Any) -> Any:
        """One sentence for a wrong value, instead of one for each kind it might have been."""
        if value in ("reset", "base", "none") or isinstance(value, Section) or _is_schedule(value):
            return value
        raise ValueError(
            "training.reference must be reset, base, none, ema: a rate above 0 and at most 1, or "
            f"every: k with a k of at least 1 (found {value!r})"
        )

    @model_validator(mode="after")
    def _possible(self) -> "TrainingOptions":
        check_options(self.loss, self.loss_options())
        named = self.reference if isinstance(self.reference, str) else _named(self.reference)
        check_reference(self.loss, named, self.reference_logps, self.ld_alpha)
        return self

    @model_validator(mode="after")
    def _adapters_start_fresh(self) -> "TrainingOptions":
        if self.lora is not None and self.optimiser_state == "carried":
            raise ValueError(
                "training.optimiser_state carried does not go with training.lora: each round has "
                "new adapters, of which old moments say nothing; remove one of the two"
            )
        return self

    @property
    def has_reference(self) -> bool:
        """Whether the policy is compared with a reference at all."""
        return TRAITS[self.loss].reference

    @property
    def shortens(self) -> bool:
        """Whether tokens beyond the pair's shorter completion count less than others."""
        return self.ld_alpha is not None and self.ld_alpha < 1

    def loss_options(self) -> LossOptions:
        return LossOptions(
            self.beta,
            self.label_smoothing,
            self.divergence,
            self.divergence_alpha,
            self.discopop_tau,
            self.simpo_gamma,
        )


class TrainingConfig(TrainingOptions):
    """One DPO round as it is trained: every number is known."""

    learning_rate: Positive = 5e-7
    warmup_steps: int = Field(0, ge=0)
    pairs_per_step: Count = Field(32, description="pairs of one optimiser step")


def _is_schedule(value: Any) -> bool:
    """Whether `value` is {"ema": rate} or {"every": k} with a possible number."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(kind, number)] = value.items()
    if kind == "ema":
        return type(number) in (int, float) and 0 < number <= 1
    return kind == "every" and type(number) is int and number >= 1


def _named(reference: EmaReference | EveryReference) -> str:
    return ", ".join(f"{key}: {value}" for key, value in reference.model_dump().items())


class EvaluationConfig(Section):
    """How held-out answers are counted: `gate` prompts decide promotion, `test` prompts are
    reported."""

    samples_per_prompt: Count = 1
    confidence: float = Field(0.95, gt=0, lt=1)
    bootstrap_resamples: Count = 10_000
