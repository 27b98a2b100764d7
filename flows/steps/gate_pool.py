"""Step `gate_pool`: the gate prompts that a certified campaign may use, in the order of their
hashes. Frozen when it is first made; no training sees any of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made
from dpo_core.errors import PromptError
from dpo_core.records import PROMPTS, Prompt, prompt_from_row, prompt_row
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.config import CampaignConfig, config_of_round
from flows.session import Session
from flows.steps.prompts import pool_config, pool_functions
from generation.prompts import draw_held_out, read_pool

POOL = "prompts.parquet"
MOST = 100_000
"""Prompts that are set aside, of a pool that has more. All that a campaign may ever use must be
known before its base is trained."""


def gate_pool(session: Session, held_out: Artifact) -> Artifact | None:
    """The gate prompts of `held_out`, then all others; None where the gate is not certified."""
    if session.config.gate.false_promotions is None:
        return None
    # A branch goes on with the prompts of its campaign's beginning.
    config = config_of_round(session.layout, session.config, 0)

    def make(folder: Path, inputs: Inputs) -> Made:
        asked = map(prompt_from_row, iterate_rows(inputs.path("held_out")))
        first = [prompt for prompt in asked if prompt.split == "gate"]
        unfinished, trained = Counter[str](), _trained(config)
        pool = _checked(read_pool(config.prompts, unfinished), config)
        draw = draw_held_out(pool, MOST, 0, config.prompts)
        known = {prompt.prompt_id for prompt in first}
        more = [p for p in draw.prompts if p.prompt_id not in known | trained]
        kept = write_rows(folder / POOL, map(prompt_row, [*first, *more]), PROMPTS)
        return Made(draw.pool + unfinished.total(), kept, {**draw.dropped, **unfinished})

    return session.step(
        0,
        "gate_pool",
        make,
        config=pool_config(config.prompts),
        inputs={"held_out": held_out.input("prompts.parquet")},
        functions=pool_functions(config.prompts),
    )


def prompt_ids(pool: Path | None) -> set[str]:
    """Of the prompts in its file; none where there is none."""
    rows = read_rows(pool, ["prompt_id"]) if pool is not None else []
    return {row["prompt_id"] for row in rows}


def at_most(config: CampaignConfig) -> int:
    """Gate prompts that one decision may look at."""
    return config.gate.at_most_prompts or 4 * config.evaluation.gate_prompts


def planned_decisions(config: CampaignConfig) -> int:
    rounds = min(config.rounds, config.stop.rounds or config.rounds)
    return rounds * (1 + len(config.gate.retries))


def _checked(pool: Iterable[Prompt], config: CampaignConfig) -> Iterator[Prompt]:
    """Raise PromptError for groups that are divided: those trained on say what the gate's are."""
    for prompt in pool:
        if config.prompts.split_by == "prompt" and prompt.extra.get("group") is not None:
            raise PromptError(
                "rows of the prompts have a `group`, whose members are alike, but may fall into "
                "different splits: gate.false_promotions would take them for independent",
                "Set prompts.split_by to group, or rename the field if it means something else.",
            )
        yield prompt


def _trained(config: CampaignConfig) -> set[str]:
    """Prompts of the train split that stand in a group of the gate's as well."""
    if config.prompts.split_by == "prompt":
        return set()
    return {p.prompt_id for p in read_pool(config.prompts) if p.split == "train"}
