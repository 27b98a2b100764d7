"""A weighted average of two policies: the moving-average reference."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpo_core.children import Report
from dpo_core.errors import BadInput
from dpo_core.hashing import policy_id
from dpo_core.training.jobs import AverageJob
from dpo_core.training.results import AverageResult


def average_policies(job: AverageJob, report: Report) -> AverageResult:
    """Write (1 − rate)·from + rate·to to `out_dir`, tensor by tensor. Returns the policy's id.

    Only the tensors of one file are in memory. The soft update of TR-DPO, Gorbatovski et al. 2024
    (arXiv:2404.09656), section 3, whose α is `rate`. Raises BadInput when the policies' tensors do
    not match.
    """
    job.out_dir.mkdir(parents=True)
    files = sorted(job.to_dir.glob("*.safetensors"))
    for other in job.to_dir.iterdir():
        if other not in files:
            shutil.copy(other, job.out_dir)
    with ExitStack() as opened:
        start = _reader(opened, job.from_dir)
        for done, file in enumerate(files, 1):
            target = opened.enter_context(safe_open(file, "pt"))
            names = target.keys()
            mixed = {name: _between(start(name), target.get_tensor(name), job) for name in names}
            save_file(mixed, job.out_dir / file.name, metadata={"format": "pt"})
            report(done, len(files), "files")
    return AverageResult(policy=policy_id(job.out_dir), rate=job.rate)


def _reader(opened: ExitStack, folder: Path) -> Callable[[str], Tensor | None]:
    """A function that returns a policy's tensor by name, from whichever file holds it, or None."""
    handles = [opened.enter_context(safe_open(f, "pt")) for f in folder.glob("*.safetensors")]
    named = ((handle.keys(), handle) for handle in handles)
    holder = {name: handle for names, handle in named for name in names}
    return lambda name: holder[name].get_tensor(name) if name in holder else None


def _between(start: Tensor | None, target: Tensor, job: AverageJob) -> Tensor:
    if start is None or start.shape != target.shape:
        raise BadInput(
            f"the tensors of {job.from_dir} and {job.to_dir} do not match, so there is no average",
            "Set training.reference to reset, base or every: k.",
        )
    if not target.is_floating_point():
        return target
    return start.float().lerp(target.float(), job.rate)
