"""Configuration of sampling. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, Positive, PositiveShare, Section, Share
from dpo_core.jobs import Lifetime


class SamplingConfig(Section):
    """How the policy samples completions, in training rounds and in evaluation."""

    engine: Literal["vllm", "transformers"] = Field(
        "vllm", description="transformers: slow, for models that vLLM does not know"
    )
    samples_per_prompt: Count = Field(4, description="completions per training prompt")
    until_pairs: Count | None = Field(
        None,
        description="pairs a round aims for: it draws up to prompts.per_round prompts at a time "
        "until it has them; none: it draws prompts.per_round once",
    )
    budget_tokens: Count | None = Field(
        None,
        description="until_pairs: sampled tokens after which a round continues with the pairs it "
        "has; none: 4 x prompts.per_round x samples_per_prompt x max_tokens",
    )
    max_tokens: Count = Field(256, description="most tokens of an answer; longer ones are cut")
    temperature: Positive = Field(1.0, description="sampling temperature; KL is measured at 1 only")
    top_p: PositiveShare = Field(1.0, description="nucleus sampling; KL is measured at 1 only")
    max_model_len: Count | None = Field(None, description="none: the model's own limit")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="dtype of weights while sampling, and of judges that are models; auto: "
        "bfloat16 on a GPU, and for a `policy.model` on a CPU with AMX or AVX512-BF16, else "
        "float32; fixed when the campaign is created",
    )
    shard_prompts: Count = Field(
        1024,
        description="prompts sampled and written as one unit; on devices whose sums depend on the "
        "batch it changes last bits; shards already sampled are kept",
    )
    keep_worker: Lifetime = Field(
        "auto",
        description="lifetime of the processes that sample, judge and train: the campaign, or one "
        "step; auto: campaign on CPU, step on GPU, where each needs the memory",
    )
    gpu_memory_utilization: PositiveShare = Field(
        0.9, description="share of a GPU's memory that vLLM takes"
    )
    tensor_parallel_size: Count = Field(
        1,
        description="GPUs that share the model; it changes last bits; shards already sampled are "
        "kept",
    )

    @property
    def is_raw(self) -> bool:
        """Whether completions are drawn from the policy's own distribution."""
        return self.temperature == 1 and self.top_p == 1

    def dtype_on(self, device: str) -> str:
        """Name of the dtype to sample in on `device`, "cpu" or "cuda".

        flows.config.precision resolves `auto` for a `policy.model` on a CPU; the rest is here.
        """
        if self.dtype != "auto":
            return self.dtype
        return "float32" if device == "cpu" else "bfloat16"


class PromptsConfig(Section):
    """Where prompts come from and how they are split into train, gate and test.

    A prompt's split depends only on its own hash, or on that of its group, so a growing pool never
    moves a prompt to another split.
    """

    path: str | None = Field(
        None,
        description="JSONL or parquet file with `prompt` or `messages`, or a folder of such files",
    )
    dataset: str | None = Field(
        None, description="folder written by `datasets`, or id of a dataset on the hub"
    )
    dataset_split: str = Field("train", description="split of `dataset`")
    function: str | None = Field(
        None, description="`package.module:function`, called without arguments, that yields rows"
    )
    field: str = Field("prompt", description="name of the plain-text prompt field")
    per_round: Count = Field(512, description="training prompts that a round draws")
    reuse: bool = Field(
        True,
        description="use prompts again once all have been used; false: a round takes what is left, "
        "and the campaign ends when none are",
    )
    prefer: Literal["least_used", "informative"] = Field(
        "least_used",
        description="which prompts a round draws first: least_used, or informative: prompts whose "
        "answers differed by a margin in an earlier round; those whose answers were all right or "
        "all wrong come last",
    )
    unseen_floor: Share = Field(
        0.25,
        description="informative: least share of a draw that no round has drawn before, while "
        "there are such prompts",
    )
    gate_share: Share = Field(0.1, description="share of the prompts that decide on promotion")
    test_share: Share = Field(0.1, description="share of the prompts that are only reported")
    split_by: Literal["prompt", "group"] = Field(
        "prompt",
        description="group: rows with the same `group` fall into the same split and count as one "
        "unit of evidence at the gate",
    )
