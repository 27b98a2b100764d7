"""Configuration of sampling. Loading it imports nothing heavy."""

from typing import Literal

from pydantic import Field

from dpo_core.config import Count, Positive, PositiveShare, Section, Share


class SamplingConfig(Section):
    """How the policy answers prompts, in training rounds and in evaluation alike."""

    engine: Literal["vllm", "transformers"] = "vllm"
    samples_per_prompt: Count = Field(4, description="completions per training prompt")
    until_pairs: Count | None = Field(
        None,
        description="a round draws more prompts, at most prompts.per_round at a time, until so "
        "many pairs are there; none: it draws prompts.per_round once",
    )
    budget_tokens: Count | None = Field(
        None,
        description="until_pairs: sampled tokens after which a round goes on with the pairs that "
        "there are; none: 4 x prompts.per_round x samples_per_prompt x max_tokens",
    )
    max_tokens: Count = 256
    temperature: Positive = 1.0
    top_p: PositiveShare = 1.0
    max_model_len: Count | None = Field(None, description="None: what the model config says")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="of weights while sampling, and of judges that are models; auto: bfloat16 on a "
        "GPU, and for a `policy.model` on a CPU with AMX or AVX512-BF16, else float32; fixed when "
        "the campaign is created",
    )
    shard_prompts: Count = Field(
        1024,
        description="prompts sampled and written as one unit; where a device's sums depend on what "
        "is computed side by side it moves last bits, and what is sampled already stays",
    )
    keep_worker: Literal["auto", "campaign", "step"] = Field(
        "auto",
        description="how long the processes that sample, judge and train live: a campaign, or one "
        "step at a time; auto: campaign on CPU, step on GPU, where each needs the memory",
    )
    gpu_memory_utilization: PositiveShare = 0.9
    tensor_parallel_size: Count = Field(
        1,
        description="GPUs that share the model; it moves last bits, what is sampled already stays",
    )

    @property
    def is_raw(self) -> bool:
        """Whether completions are drawn from the policy itself, neither tempered nor cut."""
        return self.temperature == 1 and self.top_p == 1

    def dtype_on(self, device: str) -> str:
        """Name of the dtype to sample in on `device`, "cpu" or "cuda".

        `auto` is what flows.config.precision left: a policy that is built, or a GPU.
        """
        if self.dtype != "auto":
            return self.dtype
        return "float32" if device == "cpu" else "bfloat16"


class PromptsConfig(Section):
    """Where prompts come from and how they are divided into train, gate and test.

    A prompt's split depends on its own hash alone, or on that of its group, so a pool that grows
    never moves a prompt.
    """

    path: str | None = Field(
        None,
        description="JSONL or parquet with `prompt` or `messages`; a folder: all such files in it",
    )
    dataset: str | None = Field(
        None, description="folder that `datasets` saved, or id of a dataset on the hub"
    )
    dataset_split: str = Field("train", description="split of `dataset`")
    function: str | None = Field(
        None, description="`package.module:function()` that yields such rows"
    )
    field: str = Field("prompt", description="name of the plain-text prompt field")
    per_round: Count = 512
    reuse: bool = Field(
        True,
        description="once every prompt has been used, use them again; false: a round takes what is "
        "left, and with nothing left the campaign ends",
    )
    prefer: Literal["least_used", "informative"] = Field(
        "least_used",
        description="which prompts a round draws first: least_used; informative: of those that an "
        "earlier round drew, the ones whose answers differed by a margin, and last those whose "
        "answers were all right or all wrong",
    )
    unseen_floor: Share = Field(
        0.25,
        description="informative: at least this share of a draw are prompts that no round drew, "
        "while there are any",
    )
    gate_share: Share = 0.1
    test_share: Share = 0.1
    split_by: Literal["prompt", "group"] = Field(
        "prompt",
        description="group: prompts whose rows have the same `group` fall into the same split, and "
        "are one unit of evidence for the gate",
    )
