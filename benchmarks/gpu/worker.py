"""The process of the checks, driven through dpo_core.children; the parent loads no torch.

It answers one request after another, so libraries are loaded once. After an error the parent asks
a new one: an error of CUDA's stays with the process that had it.
"""

import faulthandler
import pkgutil
import platform
import resource
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import Bench
from benchmarks.measure import machine
from dpo_core.children import Report, serve
from dpo_core.errors import BadInput

DRY_RUN = "`python -m benchmarks.gpu --device cpu` is a dry run with tiny models, without a GPU."
_PACKAGES = ("triton", "peft", "accelerate", "trl", "pydantic", "pyarrow")


def handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """{"op": "machine", "device": …} gives facts, {"op": "check", …} the number of failures."""
    if request["op"] == "machine":
        return facts(request["device"])
    with tempfile.TemporaryDirectory(prefix="ratchet-gpu-") as folder:
        bench = Bench(request["check"], request["device"], Path(request["results"]), Path(folder))
        with bench.trying("the check"):
            pkgutil.resolve_name(request["run"])(bench)
        with bench.trying("the device afterwards"):
            bench.settle()
    return {"failures": bench.failures}


def facts(device: str) -> dict[str, Any]:
    """What the machine is. Raises BadInput where there is no GPU, or none that torch can use."""
    import torch

    found = {**machine(), **{name: _version(name) for name in _PACKAGES}}
    if device == "cpu":
        return {"device": f"CPU: {found['cpu'] or platform.machine()}", **found}
    if torch.version.cuda is None:
        raise BadInput(
            f"torch {torch.__version__} is built without CUDA",
            f"Install torch's CUDA build on a machine with an NVIDIA GPU. {DRY_RUN}",
        )
    if not torch.cuda.is_available():
        raise BadInput(
            "torch sees no NVIDIA GPU here",
            "Run nvidia-smi: it shows whether the driver does; CUDA_VISIBLE_DEVICES hides GPUs. "
            f"{DRY_RUN}",
        )
    gpu = torch.cuda.get_device_properties(0)
    return {
        "device": gpu.name,
        "compute capability": f"{gpu.major}.{gpu.minor}",
        "device memory, GiB": round(gpu.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **found,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    faulthandler.enable()  # the log says where it was when it crashed, or was ended for hanging
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory is not written to the disk
    serve(handle)
