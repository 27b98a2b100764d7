"""The cheap part, before `ratchet run` writes or starts anything: no model library, and no child
but where the config names a task of lm-evaluation-harness."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from dpo_core.campaign.layout import OTHER, Layout
from dpo_core.errors import BadInput
from dpo_core.processor import has_gpu
from flows.config import CampaignConfig
from flows.doctor import policy
from flows.doctor.disk import check_disk
from flows.doctor.findings import Finding, problems
from flows.doctor.inputs import check_inputs
from flows.doctor.machine import MEASURED, check_packages, check_python, installed
from flows.doctor.memory import Device, check_memory, estimate, free_ram_gib
from flows.doctor.rejected import check_rejected
from flows.doctor.servers import check_argilla, check_prefect
from flows.doctor.shape import read_shape
from generation.prompts import read_pool

_TIMEOUT_S = 5.0
"""Of a server's answer: on a busy machine half a second refused runs whose server was well."""


def check_before_run(config: CampaignConfig, root: Path, *, with_prefect: bool) -> None:
    """Raise BadInput that lists every problem and its remedy, or names what a file lacks."""
    check_inputs(config, Layout(root))
    found = problems(_findings(config, Layout(root), with_prefect))
    if found:
        lines = [f"{one.what}\n    {one.remedy}" for one in found]
        raise BadInput(
            "this would not work:\n  " + "\n  ".join(lines),
            "`ratchet doctor` with the same config says more.",
        )


def _findings(config: CampaignConfig, layout: Layout, with_prefect: bool) -> Iterator[Finding]:
    folder = policy.local_policy(config)
    shape = read_shape(folder) if folder is not None else None
    versions = {name: installed(name) for name in MEASURED}
    yield check_python()
    yield from check_packages(versions, config)
    yield check_disk(config, layout.root, shape)
    if with_prefect:
        yield check_prefect(versions["prefect"], timeout_s=_TIMEOUT_S)
    if not layout.labels(1).exists():  # labels that are there need no server
        yield check_argilla(config, timeout_s=_TIMEOUT_S)
    fetch = not any(layout.root.glob(f"rounds/*/{OTHER}*"))
    yield from check_rejected(config, layout, chat=_chats(config), fetch=fetch)
    if folder is not None and not any(layout.round(0).glob("base-*")):
        yield from _policy(config, folder)


def _policy(config: CampaignConfig, folder: Path) -> Iterator[Finding]:
    yield from policy.check_files(folder)
    yield policy.check_length(folder, config)
    if config.prompts.path is not None:
        yield policy.check_template(folder, chat=_chats(config))
    shape = read_shape(folder)
    size = shape.size() if shape is not None else None
    if shape is not None and size is not None and not has_gpu():
        device = Device(gpu=False, gib=free_ram_gib())
        yield check_memory(estimate(shape, size, config, device), device)


def _chats(config: CampaignConfig) -> bool:
    """Whether the first prompt of a file is messages."""
    first = islice(read_pool(config.prompts), 1) if config.prompts.path is not None else ()
    return any(prompt.messages is not None for prompt in first)
