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

from dpo_core.loss_options import Divergence, LossChoice, LossOptions, check_options, traits_of
from dpo_core.reference_options import check_reference


class Section(BaseModel):
    """Base of every config section: frozen; rejects unknown keys, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_booleans(cls, value: Any, field: ValidationInfo) -> Any:
        """Reject `rounds: yes`: YAML reads yes and on as true, and pydantic reads true as 1."""
        if isinstance(value, bool) and not _may_be_bool(cls.model_fields[field.field_name or ""]):
            raise PydanticCustomError("no_bool", "Input should be a value, not yes or no")
        return value


def _may_be_bool(field: FieldInfo) -> bool:
    """Whether the field's type allows a boolean, or any value that its own validator reads."""
    parts = list(_parts(field.annotation))
    return bool in parts or Any in parts


def _parts(annotation: Any) -> Iterator[Any]:
    """The types of which an annotation consists."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class PolicyConfig(Section):
    """Where the base policy comes from: a folder, GGUF file, hub id, or a function that builds it.

    `build` is called as `build(out_dir: Path, seed: int, **build_args)` in a child process. It
    writes a model and its tokenizer to `out_dir`, as `save_pretrained` does.
    """

    model: str | None = Field(None, description="folder, .gguf file or hub id of the base policy")
    revision: str | None = Field(None, description="hub revision of `model`")
    build: str | None = Field(None, description="`package.module:function` that builds the model")
    build_args: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="arguments of `build`"
    )


class SftConfig(Section):
    """Supervised warm start of the base policy: AdamW, linear decay, loss on completions only."""

    path: str | None = Field(None, description="JSONL or parquet of prompts with completions")
    function: str | None = Field(
        None, description="`package.module:function(seed)` that yields {prompt, completion} rows"
    )
    prompt_field: str = Field("prompt", description="name of the prompt's field in each row")
    completion_field: str = Field("completion", description="name of the completion's field")
    steps: Count = Field(400, description="optimiser steps")
    batch_size: Count = Field(64, description="rows of one optimiser step")
    learning_rate: Positive = Field(2e-3, description="peak learning rate of AdamW")
    warmup_steps: int = Field(20, ge=0, description="optimiser steps of linear warm-up")
    max_length: Count = Field(512, description="longer examples are dropped and counted")


class LoraConfig(Section):
    """Low-rank adapters: fresh ones each round, merged into full weights at its end."""

    rank: Count = Field(16, description="rank of the adapters")
    alpha: Positive = Field(32.0, description="adapters are scaled by alpha / rank")
    rslora: bool = Field(False, description="scale by alpha / √rank instead: high ranks learn")
    target_modules: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = Field(
        "all-linear",
        description="names of linear layers such as q_proj; all-linear: all but the output head",
    )


class EmaReference(Section):
    """A moving average: each round the reference moves by the share `ema` towards the policy that
    samples. With 1 it is that policy."""

    ema: PositiveShare = Field(
        description="how far the reference goes towards the sampling policy in each round; 1: reset"
    )


class EveryReference(Section):
    """A reset every `every` rounds, to the policy that samples then. With 1 it is `reset`."""

    every: Count = Field(description="rounds between resets")


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
"""Keys of TrainingOptions that change how training runs, and results in the last bits at most."""


class TrainingOptions(Section):
    """Training of one DPO round, without the numbers that TrainingConfig adds.

    beta: strength of the pull to the reference; a small β lets the policy move far.
    """

    loss: LossChoice = Field(
        "sigmoid", description="one of those in docs/dpo.md, or package.module:function of your own"
    )
    beta: Positive = Field(
        0.1,
        description="pull to the reference; small: the policy moves far; omitted: the loss decides",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="share of preferences that are the wrong way round"
    )
    divergence: Divergence = Field(
        "reverse_kl",
        description="divergence from the reference in the objective; reverse_kl is DPO",
    )
    divergence_alpha: float = Field(0.5, description="α of the α-divergence")
    discopop_tau: PositiveShare = Field(0.05, description="temperature of the loss discopop")
    simpo_gamma: float = Field(0.5, description="target margin of `simpo`")
    nll_weight: float = Field(0.0, ge=0, description="weight of a term −log π(chosen) per token")
    ld_alpha: Share | None = Field(
        None, description="LD-DPO: weight of tokens beyond the shorter completion's length"
    )
    wpo: bool = Field(False, description="weight pairs by how likely the policy is to produce them")
    reference: Literal["reset", "base", "none"] | EmaReference | EveryReference = Field(
        "reset",
        description="reset: the policy that samples (losses without a reference use none); base: "
        "the base policy; ema: rate, a moving average; every: k, a reset every k rounds; none: for "
        "losses without a reference",
    )
    reference_logps: Literal["pass", "from_sampling"] = Field(
        "pass",
        description="from_sampling: use the sampler's log-probs instead of a pass of the reset "
        "reference",
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate after the warm-up: constant, or falling to 0"
    )
    micro_batch_tokens: Count | Literal["auto"] = Field(
        "auto", description="tokens per forward pass; does not change results"
    )
    path: Literal["auto", "fast", "plain"] = Field(
        "auto", description="how pairs go through the model; auto: fast where the model allows it"
    )
    epochs: Count = Field(
        1, description="passes over the round's pairs, each in an order of its own"
    )
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped to this norm")
    weight_decay: float = Field(
        0.0, ge=0, description="weight decay of matrices, not of norms and biases"
    )
    kl_budget_nats: Positive | None = Field(
        None,
        description="warn when the policy is going to move further, nats per completion; null: "
        "half a nat per token",
    )
    compute_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="dtype of forward and backward; weights and optimiser stay float32; auto: as "
        "`sampling.dtype`, float32 on a GPU without bfloat16",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute each layer in backward: less memory, same results"
    )
    optimiser_state: Literal["fresh", "carried"] = Field(
        "fresh",
        description="carried: AdamW keeps its moments from the end of the round that trained this "
        "round's starting policy; without such a round it starts fresh",
    )
    lora: LoraConfig | None = None
    processes: Count | Literal["auto"] = Field(
        "auto",
        description="processes that train on this machine; auto: one per GPU, or a single one",
    )
    torchrun: list[str] = Field(
        [],
        description="torchrun options for several machines, such as --nnodes=2 --node-rank=0",
    )
    checkpoint_every: Count | Literal["auto"] = Field(
        "auto",
        description="optimiser steps between checkpoints, from which a killed round resumes; auto: "
        "every minute of training, in at most a twentieth of the time",
    )

    @field_validator("reference", mode="before")
    @classmethod
    def _reference(cls, value: Any) -> Any:
        """Give one error for a wrong value, instead of one for each kind of reference."""
        if value in ("reset", "base", "none") or isinstance(value, Section) or _is_schedule(value):
            return value
        raise ValueError(
            "training.reference must be reset, base, none, {ema: rate} with 0 < rate ≤ 1, or "
            f"{{every: k}} with k ≥ 1 (found {value!r})"
        )

    @model_validator(mode="after")
    def _check_combination(self) -> "TrainingOptions":
        check_options(self.loss, self.loss_options())
        reference = self.reference
        text = reference if isinstance(reference, str) else _reference_text(reference)
        check_reference(self.loss, text, self.reference_logps, self.ld_alpha)
        return self

    @model_validator(mode="after")
    def _check_optimiser_state(self) -> "TrainingOptions":
        if self.lora is not None and self.optimiser_state == "carried":
            raise ValueError(
                "training.optimiser_state: carried cannot be used with training.lora: each "
                "round has new adapters, which have no earlier moments; remove one of the two"
            )
        return self

    @property
    def has_reference(self) -> bool:
        """Whether the loss uses a reference."""
        return traits_of(self.loss).reference

    @property
    def shortens(self) -> bool:
        """Whether tokens beyond the pair's shorter completion count less (LD-DPO)."""
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
    """Training of one DPO round, every number known."""

    learning_rate: Positive = 5e-7
    warmup_steps: int = Field(0, ge=0)
    pairs_per_step: Count = Field(32, description="pairs per optimiser step")


def _is_schedule(value: Any) -> bool:
    """Whether `value` is {"ema": rate} or {"every": k} with a possible number."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(kind, number)] = value.items()
    if kind == "ema":
        return type(number) in (int, float) and 0 < number <= 1
    return kind == "every" and type(number) is int and number >= 1


def _reference_text(reference: EmaReference | EveryReference) -> str:
    return ", ".join(f"{key}: {value}" for key, value in reference.model_dump().items())


class EvaluationConfig(Section):
    """Held-out evaluation. `gate` prompts decide promotion; `test` prompts are reported."""

    samples_per_prompt: Count = Field(
        1, description="answers of each policy to each held-out prompt"
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of intervals")
    bootstrap_resamples: Count = Field(10_000, description="resamples of a bootstrap interval")
