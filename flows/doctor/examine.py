"""All checks of the doctor, and the subset that precedes every run."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dpo_core.campaign.layout import OTHER, Layout
from dpo_core.children import Child
from dpo_core.errors import BadInput, RatchetError
from dpo_core.hashing import derive_seed
from dpo_core.model_shape import Shape, read_shape
from dpo_core.processor import free_ram_gib, has_gpu
from flows.config import CampaignConfig
from flows.doctor import policy, prompts
from flows.doctor.cluster import check_cluster
from flows.doctor.findings import DoctorFinding, problem, problems
from flows.doctor.inputs import check_inputs, check_same_judge, check_suites, check_user_code
from flows.doctor.machine import (
    MEASURED,
    check_devices,
    check_disk,
    check_packages,
    check_python,
    installed_version,
)
from flows.doctor.memory import Device, MemoryEstimate, check_memory, estimate, size_of
from flows.doctor.new_campaign import check_new_campaign
from flows.doctor.prompts import PromptRoom, check_draws, check_rejected
from flows.doctor.servers import check_argilla, check_ports, check_prefect
from flows.doctor.storage import check_storage
from generation.probe_jobs import Machine, ProbeMachine, ProbePolicy, ProbeTokens
from generation.prompts import read_pool

_ENVIRONMENT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Examination:
    """The findings of all checks. memory: None without a config or if the shape is unknown."""

    findings: tuple[DoctorFinding, ...]
    memory: MemoryEstimate | None

    @property
    def would_run(self) -> bool:
        return not problems(self.findings)


def examine(config: CampaignConfig | None, root: Path | None) -> Examination:
    """Run every check; without a config, those of the machine.

    A child process imports torch, builds the policy and tokenises.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ratchet-doctor-") as place,
        Child.start("generation.probe", Path(place) / "probe.log", _ENVIRONMENT) as child,
    ):
        versions = {name: installed_version(name) for name in MEASURED}
        machine = child.carry_out(ProbeMachine()).machine
        findings = [
            check_python(),
            *check_packages(versions, config),
            *check_devices(machine, config),
            *check_ports(),
            check_prefect(versions["prefect"]),
            check_argilla(config),
        ]
        memory = None
        if config is not None:
            assert root is not None, "a config belongs to a folder"
            memory = _examine_config(config, root, machine, child, Path(place) / "policy", findings)
    return Examination(tuple(findings), memory)


def _examine_config(
    config: CampaignConfig,
    root: Path,
    machine: Machine,
    child: Child,
    place: Path,
    findings: list[DoctorFinding],
) -> MemoryEstimate | None:
    """Check the config and add to `findings`. Returns the memory it takes, if known."""
    findings += check_user_code(config)
    findings.append(check_same_judge(config))
    findings += check_cluster(config)
    findings += check_suites(config)
    findings.append(check_storage(config))
    pool = _pool(config, findings)
    chat = pool is not None and pool.chat
    if not problems(findings):
        findings += check_new_campaign(config, Layout(root))
    findings += check_rejected(config, Layout(root), chat=chat, fetch=False)
    local = policy.local_policy(config)
    if local is not None:
        findings += policy.check_files(local)
    shape, folder = _policy(config, child, place, findings)
    findings.append(check_disk(config, root, shape))
    if folder is not None:
        findings += _examine_policy(config, child, folder, pool, checked=local is not None)
    size = size_of(shape)
    if shape is None or size is None:
        return None
    device = _device(machine)
    memory = estimate(shape, size, config, device)
    if config.compute.address is None:
        findings.append(check_memory(memory, device))
    return memory


def _pool(config: CampaignConfig, findings: list[DoctorFinding]) -> prompts.Pool | None:
    try:
        pool = prompts.read(config)
    except RatchetError as error:
        findings.append(problem("prompts", error.message, "prompts", error.remedy))
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
    """The policy's shape and folder; adds a finding if the policy cannot be loaded or built."""
    job = ProbePolicy(policy=config.policy, seed=derive_seed(config.seed, "base"), out=place)
    try:
        built = child.carry_out(job)
    except RatchetError as error:
        what = f"the policy cannot be loaded: {error.message.splitlines()[0]}"
        remedy = (
            "Name a folder that save_pretrained wrote, a .gguf file, or a model on the hub that "
            "you have access to."
        )
        if config.policy.build is not None:
            what = f"the policy cannot be built: {error.message.splitlines()[0]}"
            remedy = f"Fix {config.policy.build} or its policy.build_args."
        findings.append(problem("policy", what, "policy", remedy))
        return None, None
    folder = Path(built.folder)
    return built.shape, folder if folder.is_dir() else None


def _examine_policy(
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
    shape, sampling = read_shape(folder), config.sampling
    positions = shape.positions if shape else None
    context = min(filter(None, (sampling.max_model_len, positions)), default=None)
    if context is not None:
        reserved = int(sampling.engine == "vllm")  # it needs room for one more token
        room = PromptRoom(context, sampling.max_tokens, positions, reserved)
        yield from _check_prompt_tokens(config, child, folder, room)


def _check_prompt_tokens(
    config: CampaignConfig, child: Child, folder: Path, room: PromptRoom
) -> Iterator[DoctorFinding]:
    job = ProbeTokens(
        folder=folder, revision=config.policy.revision, prompts=config.prompts, room=room.tokens
    )
    try:
        counts = child.carry_out(job)
    except RatchetError as error:
        what = f"the prompts cannot be tokenised: {error.message.splitlines()[0]}"
        remedy = "Write prompts that the tokenizer and its chat template accept."
        yield problem("prompt lengths", what, "prompts", remedy)
        return
    yield prompts.check_lengths(counts, room)
    yield from prompts.check_bos(counts)


def _device(machine: Machine) -> Device:
    if machine.usable:
        return Device(gpu=True, gib=min(gib for _, gib in machine.gpus), count=machine.usable)
    return Device(gpu=False, gib=free_ram_gib())


_TIMEOUT_S = 5.0
"""Timeout of a server: on a busy machine, half a second refused runs with a healthy server."""


def check_before_run(config: CampaignConfig, root: Path, *, with_prefect: bool) -> None:
    """Raise BadInput that lists every problem with its remedy."""
    check_inputs(config, Layout(root))
    lines = [
        f"{finding.what}\n    {finding.remedy}"
        for finding in problems(_findings(config, Layout(root), with_prefect))
    ]
    if lines:
        raise BadInput(
            "the campaign cannot run:\n  " + "\n  ".join(lines),
            "See all checks: `ratchet doctor` with the same config.",
        )


def _findings(
    config: CampaignConfig, layout: Layout, with_prefect: bool
) -> Iterator[DoctorFinding]:
    folder = policy.local_policy(config)
    shape = read_shape(folder) if folder is not None else None
    versions = {name: installed_version(name) for name in MEASURED}
    yield check_python()
    yield from check_packages(versions, config)
    yield from check_new_campaign(config, layout)
    yield check_disk(config, layout.root, shape)
    yield from check_cluster(config, nodes=False)
    if with_prefect:
        yield check_prefect(versions["prefect"], timeout_s=_TIMEOUT_S)
    if not layout.labels(1).exists():  # existing labels need no server
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
    size = size_of(shape)
    elsewhere = config.compute.address is not None
    if shape is not None and size is not None and not (elsewhere or has_gpu()):
        device = Device(gpu=False, gib=free_ram_gib())
        yield check_memory(estimate(shape, size, config, device), device)


def _chats(config: CampaignConfig) -> bool:
    """Whether the first prompt of a file is messages."""
    first = islice(read_pool(config.prompts), 1) if config.prompts.path is not None else ()
    return any(prompt.messages is not None for prompt in first)
