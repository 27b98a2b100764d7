"""Jobs of a judge model's process. Loads no torch.

Texts travel through the pipe: a batch is small, unlike a round's completions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dpo_core.jobs import ChildJob, Kinds, job_kinds
from generation.jobs import EngineResult, OnEngine


@dataclass(frozen=True)
class Message:
    """`parts`: (text, whether it is data), in order."""

    role: str
    parts: Sequence[tuple[str, bool]]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.parts)


@dataclass(frozen=True)
class JudgeModel:
    """The model that judges, its precision, and the share of the device it may use.

    dtype: `auto` is float32 on a CPU, and the dtype of the model's config on a GPU.
    """

    model: str
    revision: str | None = None
    max_model_len: int | None = None
    dtype: str = "auto"
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1


@dataclass(frozen=True)
class Rating:
    """A raw score, or the reason why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Choice:
    """The model's choice, log-probs of its first token's alternatives, and tokens used."""

    text: str
    first_token: Mapping[str, float] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    failure: str = ""


class RateResult(EngineResult):
    """A rating of each conversation."""

    answers: Sequence[Rating] = ()


class ChooseResult(EngineResult):
    """A choice for each question."""

    answers: Sequence[Choice] = ()


class ModelJob(ChildJob[OnEngine]):
    """A job for `model`; a process loads the one that its first job names."""

    model: JudgeModel

    @property
    def devices(self) -> int:
        return self.model.tensor_parallel_size


class RateJob(ModelJob[RateResult]):
    """Rate the answer that each conversation ends with, by a reward model."""

    op: Literal["rate"] = "rate"
    conversations: Sequence[Sequence[Message]]


class ChooseJob(ModelJob[ChooseResult]):
    """Answer each (question, choices) with one of its choices, by a language model."""

    op: Literal["choose"] = "choose"
    questions: Sequence[tuple[Message, Sequence[str]]]


JudgeJob = RateJob | ChooseJob

JOBS: Kinds[JudgeJob] = job_kinds(RateJob, ChooseJob)
