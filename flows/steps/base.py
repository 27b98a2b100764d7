"""Round 0: the held-out prompts and the base policy, each made once for the whole campaign."""

from collections import Counter
from pathlib import Path

from dpo_core.campaign.store import Artifact, Made
from dpo_core.errors import PromptError
from dpo_core.import_path import source_hash
from dpo_core.records import PROMPTS, prompt_row
from dpo_core.tables import write_rows
from flows.policy import Policy
from flows.session import Session
from flows.steps.prompts import pool_config, pool_functions
from flows.steps.suites import suite_prompts
from generation.prompts import draw_held_out, read_pool


def held_out(session: Session) -> Artifact:
    """The gate and test prompts of the campaign: drawn once, never trained on."""
    evaluation = session.config.evaluation

    def make(folder: Path) -> Made:
        unfinished = Counter[str]()
        pool = read_pool(session.config.prompts, unfinished)
        draw = draw_held_out(pool, evaluation.gate_prompts, evaluation.test_prompts)
        counts = {split: sum(p.split == split for p in draw.prompts) for split in ("gate", "test")}
        for split, count in counts.items():
            if count == 0:
                raise PromptError(
                    f"none of the {draw.pool} prompts falls into the {split} split",
                    f"Give more prompts, or raise prompts.{split}_share.",
                )
        kept = write_rows(folder / "prompts.parquet", map(prompt_row, draw.prompts), PROMPTS)
        came_in, dropped = draw.pool + unfinished.total(), {**draw.dropped, **unfinished}
        return Made(came_in, kept, dropped, facts=counts)

    config = {
        **pool_config(session.config.prompts),
        "gate_prompts": evaluation.gate_prompts,
        "test_prompts": evaluation.test_prompts,
    }
    functions = pool_functions(session.config.prompts)
    return session.step(0, "held_out", make, config=config, functions=functions)


def base_policy(session: Session, held_out: Artifact) -> Policy:
    """π_0: loaded or built, then fine-tuned on the task's prompts if the config asks for it.

    The prompts of regression suites are left out of that, but a suite that comes later changes no
    base.
    """
    policy, sft = session.config.policy, session.config.sft
    seed = session.seed("base")

    def make(folder: Path) -> Made:
        never = suite_prompts(session.config)
        job = {
            **policy.model_dump(mode="json"),
            "sft": sft.model_dump(mode="json") if sft is not None else None,
            "held_out": str(held_out.path("prompts.parquet")),
            "never": sorted(never),
            "never_messages": [p.messages for p in never.values() if p.messages is not None],
            "out_dir": str(folder / "policy"),
            "curve_path": str(folder / "sft.parquet"),
            "seed": seed,
            "threads": session.config.threads,
        }
        result = session.train({"op": "base", "job": job})
        return Made(
            came_in=result.pop("rows_in", 0),
            kept=result.pop("rows_kept", 0),
            dropped=result.pop("dropped", {}),
            versions=result.pop("versions", {}),
            facts=result,
        )

    named = (policy.build, sft.function if sft is not None else None)
    functions = [path for path in named if path is not None]
    artifact = session.step(
        0,
        "base",
        make,
        config={
            "policy": policy.model_dump(mode="json"),
            "sft": sft.model_dump(mode="json") if sft is not None else None,
            "seed": seed,
        },
        inputs={"held_out": held_out.hash("prompts.parquet")},
        functions={path: source_hash(path) for path in functions},
    )
    return Policy(0, artifact.entry.facts["policy"], artifact.path("policy"), artifact)
