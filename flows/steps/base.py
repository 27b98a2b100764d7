"""Round 0: the held-out prompts and the base policy, each made once for the whole campaign."""

from collections import Counter
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.step_cache import machine_key
from dpo_core.campaign.step_facts import HeldOutFacts
from dpo_core.config import PolicyConfig
from dpo_core.errors import PromptError
from dpo_core.gguf.header import names_gguf
from dpo_core.hashing import digest
from dpo_core.import_path import source_hash
from dpo_core.records import prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import write_rows
from dpo_core.training.jobs import BaseJob
from dpo_core.training.results import BaseFacts
from flows.config import CampaignConfig
from flows.evaluation.held_out import draw_evaluation_prompts
from flows.gate.power import REMEDY, count_groups, gate_power
from flows.read_records import read_prompts
from flows.round_state import Policy
from flows.session import Session
from flows.steps.gate_pool import POOL, find_gate_pool, read_prompt_ids
from flows.steps.prompts import pool_config, pool_functions
from flows.steps.suites import suite_prompts

_MAKES = "dpo_core.training.warm_start.base_policy:prepare_base"


def held_out(session: Session) -> Artifact:
    """Draw the campaign's gate and test prompts, once. They are never trained on."""
    evaluation = session.config.evaluation

    def make(folder: Path, _: Inputs) -> StepResult:
        unfinished = Counter[str]()
        draw = draw_evaluation_prompts(session.config, unfinished)
        counts = {split: sum(p.split == split for p in draw.prompts) for split in ("gate", "test")}
        for split, count in counts.items():
            if count == 0:
                raise PromptError(
                    f"none of the {draw.pool} prompts falls into the {split} split",
                    f"Give more prompts, or raise prompts.{split}_share.",
                )
        kept = write_rows(folder / "prompts.parquet", map(prompt_row, draw.prompts), PROMPTS)
        came_in, dropped = draw.pool + unfinished.total(), {**draw.dropped, **unfinished}
        return StepResult(came_in, kept, dropped, facts=HeldOutFacts(**counts))

    config = {
        **pool_config(session.config.prompts),
        "gate_prompts": evaluation.gate_prompts,
        "test_prompts": evaluation.test_prompts,
    }
    functions = pool_functions(session.config.prompts)
    return session.step(0, "held_out", make, config=config, functions=functions)


def report_power(session: Session, held_out: Artifact, pool: Artifact | None) -> None:
    """Report once, when the prompts are drawn, which win rate the gate can detect."""
    if held_out.cached:
        return
    gate = held_out.facts(HeldOutFacts).gate
    groups = count_groups(read_prompts(held_out.path("prompts.parquet")).values(), session.config)
    power = gate_power(session.config, gate, None if pool is None else pool.entry.kept, groups)
    if power.weak:
        session.progress.notice(f"{power.sentence}. {REMEDY}")
    else:
        session.progress.note(power.sentence)


def base_policy(session: Session, held_out: Artifact) -> Policy:
    """π_0: loaded or built, then fine-tuned on the task's prompts if the config has `sft`.

    Fine-tuning skips prompts of regression suites and those reserved for a certified gate. A suite
    that is added later does not change the base.
    """
    policy, sft = session.config.policy, session.config.sft
    seed = session.seed("base")
    pool = find_gate_pool(session, held_out) if sft is not None else None

    def make(folder: Path, inputs: Inputs) -> StepResult:
        for name in ("model", "sft"):
            inputs.find(name)  # raises for a user's file that is gone
        never, set_aside = suite_prompts(session), read_prompt_ids(inputs.find("gate_pool"))
        job = BaseJob(
            **policy.model_dump(),
            sft=sft,
            held_out=inputs.path("held_out"),
            never=sorted({*never, *set_aside}),
            never_messages=[list(p.messages) for p in never.values() if p.messages is not None],
            out_dir=folder / "policy",
            curve_path=folder / "sft.parquet",
            seed=seed,
            threads=session.threads,
            keep_worker=session.config.sampling.keep_worker,
        )

        def train(_: Path) -> StepResult:
            result = session.train(job)
            return StepResult(
                came_in=result.rows_in,
                kept=result.rows_kept,
                dropped=result.dropped,
                versions=result.versions,
                facts=BaseFacts.read(result.as_json()),
            )

        if session.bases is None or not is_reusable(session.config):
            return train(folder)
        prompts = [sorted(never), sorted(set_aside)]
        machine = machine_key(_MAKES, session.threads)
        key = digest(config, inputs.hashes, functions, prompts, *machine)
        return session.bases.obtain(key, folder, train)

    config = base_config(session.config, seed)
    named = (policy.build, sft.function if sft is not None else None)
    functions = {path: source_hash(path) for path in named if path is not None}
    artifact = session.step(
        0,
        "base",
        make,
        config=config,
        inputs={
            "held_out": held_out.input("prompts.parquet"),
            **({"gate_pool": pool.input(POOL)} if pool is not None else {}),
            **user_inputs(session),
        },
        functions=functions,
    )
    return Policy(0, artifact.facts(BaseFacts).policy, artifact.path("policy"), artifact)


def is_reusable(config: CampaignConfig) -> bool:
    """Whether another campaign may take this base for its own: all that it was made of is known by
    content, and making it takes more than copying a folder.

    A model on the hub may change. The user's functions, and arguments that are texts, may name
    files that no fingerprint knows. Nodes of a cluster may have other processors.
    """
    policy, sft = config.policy, config.sft
    if config.compute.kind != "local" or (policy.model is not None and not is_local(policy)):
        return False
    functions = [policy.build, sft.function if sft is not None else None]
    known = all(name is None or name.startswith("examples.") for name in functions)
    known = known and not any(isinstance(value, str) for value in policy.build_args.values())
    return known and (sft is not None or policy.model is None or names_gguf(policy.model))


def base_config(config: CampaignConfig, seed: int) -> dict[str, object]:
    """What the base depends on besides its inputs, which hold local models and files by content."""
    policy = config.policy.model_dump(mode="json")
    sft = config.sft.model_dump(mode="json") if config.sft is not None else None
    if is_local(config.policy):
        policy["model"] = None
    if sft is not None and sft["path"] is not None:
        sft["path"] = None
    return {"policy": policy, "sft": sft, "seed": seed}


def user_inputs(session: Session) -> dict[str, Input]:
    policy, sft = session.config.policy, session.config.sft
    inputs = {}
    if is_local(policy) and policy.model is not None:
        inputs["model"] = session.model_input(Path(policy.model))
    if sft is not None and sft.path is not None:
        inputs["sft"] = session.file_input(Path(sft.path))
    return inputs


def is_local(policy: PolicyConfig) -> bool:
    """Whether the model is a local path, which may be gone, and not the id of a hub model."""
    return policy.model is not None and Path(policy.model).is_absolute()
