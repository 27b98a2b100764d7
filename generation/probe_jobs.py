"""Jobs of the child process of `ratchet doctor`. Loads no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dpo_core.config import PolicyConfig
from dpo_core.jobs import ChildJob, JobResult, Kinds, job_kinds
from dpo_core.model_shape import Shape
from generation.config import PromptsConfig


@dataclass(frozen=True)
class Machine:
    """What torch and the driver report. cuda_build: CUDA version that torch was built with.

    gpus: (name, GiB) of the driver's GPUs, of which torch can use `usable`; driver_cuda: newest
    CUDA version that the driver supports. error: why torch cannot be imported.
    """

    torch: str | None
    cuda_build: str | None = None
    usable: int = 0
    gpus: tuple[tuple[str, float], ...] = ()
    driver_cuda: str | None = None
    error: str = ""


class MachineFound(JobResult):
    """The machine."""

    machine: Machine = Machine(None)


class PolicyFound(JobResult):
    """Folder, or hub id, and shape of the base policy."""

    folder: str = ""
    shape: Shape | None = None


class TokenCounts(JobResult):
    """Of the first prompts: the tokens of the longest, and how many are longer than the room, lack
    BOS or have it twice."""

    prompts: int = 0
    longest: int = 0
    too_long: int = 0
    bos_missing: int = 0
    bos_doubled: int = 0


class ProbeMachine(ChildJob[MachineFound]):
    """Look at torch, and at the GPUs that it can use and those that the driver reports."""

    op: Literal["machine"] = "machine"


class ProbePolicy(ChildJob[PolicyFound]):
    """Find the base policy's shape. Builds the policy in `out` first where the config says so; for
    a GGUF file writes only config and tokenizer there."""

    op: Literal["policy"] = "policy"
    policy: PolicyConfig
    seed: int
    out: Path


class ProbeTokens(ChildJob[TokenCounts]):
    """Count the tokens of the first prompts. room: for a prompt, in tokens."""

    op: Literal["tokens"] = "tokens"
    folder: Path
    revision: str | None
    prompts: PromptsConfig
    room: int


ProbeJob = ProbeMachine | ProbePolicy | ProbeTokens

JOBS: Kinds[ProbeJob] = job_kinds(ProbeMachine, ProbePolicy, ProbeTokens)
