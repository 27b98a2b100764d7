"""The whole examination: of the machine, and of what a config would make of it."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dpo_core.campaign.layout import OTHER, Layout
from dpo_core.children import Child
from dpo_core.errors import BadInput, RatchetError
from dpo_core.hashing import derive_seed
from dpo_core.model_shape import Shape, read_shape
from dpo_core.processor import has_gpu
from flows.config import CampaignConfig
from flows.doctor import inputs as judges
from flows.doctor import policy, prompts, servers
from flows.doctor.findings import DoctorFinding, problem, problems
from flows.doctor.inputs import check_inputs, check_suites
from flows.doctor.machine import (
    MEASURED,
    Machine,
    check_devices,
    check_disk,
    check_packages,
    check_python,
    installed,
)
from flows.doctor.memory import Device, MemoryEstimate, check_memory, estimate, free_ram_gib
from flows.doctor.prompts import check_draws, check_rejected
from flows.doctor.servers import check_argilla, check_prefect
from generation.prompts import read_pool

_ENVIRONMENT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Examination:
    """What all checks came to. memory: None without a config, or where a shape is not known."""

    findings: tuple[DoctorFinding, ...]
    memory: MemoryEstimate | None

    @property
    def would_run(self) -> bool:
        return not problems(self.findings)


def examine(config: CampaignConfig | None, root: Path | None) -> Examination:
    """Every check; without a config those of the machine. A child imports torch, builds the policy
    and tokenises, so that this process stays light."""
    with (
        tempfile.TemporaryDirectory(prefix="ratchet-doctor-") as place,
        Child.start("generation.probe", Path(place) / "probe.log", _ENVIRONMENT) as child,
    ):
        versions = {name: installed(name) for name in MEASURED}
        machine = _machine(child)
        findings = [
            check_python(),
            *check_packages(versions, config),
            *check_devices(machine, config),
            *servers.check_ports(),
            servers.check_prefect(versions["prefect"]),
            servers.check_argilla(config),
        ]
        memory = None
        if config is not None:
            assert root is not None, "a config belongs to a folder"
            memory = _of_config(config, root, machine, child, Path(place) / "policy", findings)
    return Examination(tuple(findings), memory)


def _machine(child: Child) -> Machine:
    found = child.ask({"op": "machine"})
    return Machine(**{**found, "gpus": tuple((name, gib) for name, gib in found["gpus"])})


def _of_config(
    config: CampaignConfig,
    root: Path,
    machine: Machine,
    child: Child,
    place: Path,
    findings: list[DoctorFinding],
) -> MemoryEstimate | None:
    """Add what is found of the config to `findings`; the memory it takes, where that is known."""
    findings += judges.check_user_code(config)
    findings.append(judges.check_same_judge(config))
    findings += check_suites(config)
    pool = _pool(config, findings)
    chat = pool is not None and pool.chat
    findings += check_rejected(config, Layout(root), chat=chat, fetch=False)
    there = policy.local_policy(config)
    if there is not None:
        findings += policy.check_files(there)
    shape, folder = _policy(config, child, place, findings)
    findings.append(check_disk(config, root, shape))
    if folder is not None:
        findings += _of_policy(config, child, folder, pool, checked=there is not None)
    size = shape.size() if shape is not None else None
    if shape is None or size is None:
        return None
    device = _device(machine)
    found = estimate(shape, size, config, device)
    findings.append(check_memory(found, device))
    return found


def _pool(config: CampaignConfig, findings: list[DoctorFinding]) -> prompts.Pool | None:
    try:
        pool = prompts.read(config)
    except RatchetError as error:
        findings += prompts.unreadable(error)
        return None
    findings += prompts.check_pool(pool, config)
    findings += check_draws(config, pool.splits.get("train", 0))
    findings.append(prompts.check_overlap(pool, config))
    if pool.gate:
        findings.append(prompts.check_power(pool, config))
    return pool


def _policy(
    config: CampaignConfig, child: Child, place: Path, findings: list[DoctorFinding]
) -> tuple[Shape | None, Path | None]:
    """The policy's shape and where its files are; a finding where it cannot be had."""
    request = {**config.policy.model_dump(), "seed": derive_seed(config.seed, "base")}
    try:
        found = child.ask({"op": "policy", "out": str(place), **request})
    except RatchetError as error:
        remedy = (
            "Name a folder that save_pretrained wrote, a .gguf file, or a model on the hub that "
            "can be had"
        )
        if config.policy.build is not None:
            remedy = f"Mend {config.policy.build} or its policy.build_args"
        what = f"the policy cannot be had: {error.message.splitlines()[0]}"
        findings.append(problem("policy", what, "policy", f"{remedy}."))
        return None, None
    folder = Path(found["folder"])
    shape = Shape(**found["shape"])
    return shape, folder if folder.is_dir() else None


def _of_policy(
    config: CampaignConfig, child: Child, folder: Path, pool: prompts.Pool | None, *, checked: bool
) -> Iterator[DoctorFinding]:
    if not checked:
        yield from policy.check_files(folder)
    yield policy.check_length(folder, config)
    if pool is None:
        return
    template = policy.check_template(folder, chat=pool.chat)
    yield template
    if template.severity == "problem":
        return
    shape = read_shape(folder)
    length = config.sampling.max_model_len or (shape.positions if shape else None)
    if length is not None:
        yield from _lengths(config, child, folder, length - config.sampling.max_tokens)


def _lengths(
    config: CampaignConfig, child: Child, folder: Path, room: int
) -> Iterator[DoctorFinding]:
    own = config.sampling.engine == "vllm"  # which wants room for one token more
    request: Mapping[str, Any] = {
        "op": "tokens",
        "folder": str(folder),
        "revision": config.policy.revision,
        "prompts": config.prompts.model_dump(mode="json"),
        "room": room - own,
    }
    try:
        found = child.ask(request)
    except RatchetError as error:
        what = error.message.splitlines()[0]
        yield problem(
            "prompt lengths", what, "prompts", "Write prompts that the tokenizer can read."
        )
        return
    yield prompts.check_lengths(found, room - own)
    yield from prompts.check_bos(found)


def _device(machine: Machine) -> Device:
    if machine.usable:
        return Device(gpu=True, gib=min(gib for _, gib in machine.gpus), count=machine.usable)
    return Device(gpu=False, gib=free_ram_gib())


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


def _findings(
    config: CampaignConfig, layout: Layout, with_prefect: bool
) -> Iterator[DoctorFinding]:
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
        yield from _policy_files(config, folder)


def _policy_files(config: CampaignConfig, folder: Path) -> Iterator[DoctorFinding]:
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
