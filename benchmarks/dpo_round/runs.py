"""One run of either side, in a process of its own; the settings of TRL that are tried.

What is set from outside the process: `huge_pages` (buffers in them, which Linux leaves to the
program), `intel_kernels` (where the CPU is AMD's, MKL is told that it is Intel's and does not take
its slow path).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.measure import child_result
from benchmarks.mkl import cpu_is_amd, intel_kernels
from dpo_core.children import child_environment

PLAIN = {"batch": 8, "accumulate": 1}
TUNED = {"completion_rows": True, "allocator": True, "intel_kernels": True}
_HUGE = {**TUNED, "huge_pages": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "batch 8": PLAIN,
    "batch 8, completion rows": {**PLAIN, "completion_rows": True},
    "batch 8, completion rows, allocator": {**PLAIN, **TUNED},
    "batch 4 x 2, completion rows, allocator": {"batch": 4, "accumulate": 2, **TUNED},
    "batch 2 x 4, completion rows, allocator": {"batch": 2, "accumulate": 4, **TUNED},
    "batch 1 x 8, completion rows, allocator": {"batch": 1, "accumulate": 8, **TUNED},
    "batch 1 x 8, allocator": {"batch": 1, "accumulate": 8, "allocator": True},
    "batch 1 x 8, completion rows, allocator, huge pages": {"batch": 1, "accumulate": 8, **_HUGE},
    "batch 2 x 4, completion rows, allocator, huge pages": {"batch": 2, "accumulate": 4, **_HUGE},
    "batch 2 x 4, by length, completion rows, allocator": {
        "batch": 2,
        "accumulate": 4,
        "by_length": True,
        **TUNED,
    },
}


def ratchet(
    folder: Path, config: str, environment: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """A round of ours; `config` has training options as JSON."""
    return child_result(
        ["benchmarks.dpo_round.ratchet_side", str(folder), config],
        {**child_environment(1), **environment},
    )


def trl(
    folder: Path,
    settings: Mapping[str, Any],
    environment: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """A round of TRL's, settings as in `trl_side` and above; `failed` alone where it cannot run."""
    env = dict(environment)
    if settings.get("huge_pages"):
        env["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    if settings.get("intel_kernels") and cpu_is_amd():
        env["LD_PRELOAD"] = str(intel_kernels(folder))
    return child_result(["benchmarks.dpo_round.trl_side", str(folder), json.dumps(settings)], env)


def needed(run: dict[str, Any]) -> dict[str, Any]:
    """A run of TRL's that nothing can be compared without. Ends the program when it failed."""
    if "failed" in run:
        raise SystemExit(f"TRL cannot be run here: {run['failed']}")
    return run
