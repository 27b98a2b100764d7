"""Step `gate_pool`: the gate prompts that a certified campaign may use, in the order of their
hashes. No training sees any of them.

Frozen when it is first made: a place in it means one prompt for ever. Where the held-out prompts
are drawn anew, it grows at its end.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.ledger import Entry
from dpo_core.errors import PromptError
from dpo_core.evaluation.certification import (
    unit_outcomes,
)
from dpo_core.records import Prompt, prompt_from_row, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.config import CampaignConfig, config_of_round
from flows.session import Session
from generation.config import PromptsConfig
from generation.prompts import draw_held_out, read_pool, unit_of

POOL = "prompts.parquet"
_OTHER = "held_out_"
MOST = 100_000
"""Prompts that are set aside, of a pool that has more. All that a campaign may ever use must be
known before its base is trained."""


def gate_pool(session: Session, held_out: Artifact) -> Artifact | None:
    """The gate prompts of `held_out`, then all others; None where the gate is not certified."""
    if session.config.gate.false_promotions is None:
        return None
    # A branch goes on with the prompts of its campaign's beginning.
    config = config_of_round(session.store.layout, session.config, 0)
    declared = _inputs(session, held_out)
    others = [name for name in declared if name.startswith(_OTHER)]

    def make(folder: Path, inputs: Inputs) -> StepResult:
        unfinished = Counter[str]()
        pool = _checked(read_pool(config.prompts, unfinished), config)
        draw = draw_held_out(pool, MOST, 0, config.prompts)
        known = [*_prompts(inputs.find("before")), *_gate_prompts(inputs.path("held_out"))]
        used = (p.prompt_id for name in others for p in _gate_prompts(inputs.path(name)))
        never = _trained(config) | set(used)
        new = [prompt for prompt in draw.prompts if prompt.prompt_id not in never]
        rows = {prompt.prompt_id: prompt_row(prompt) for prompt in [*known, *new]}
        kept = write_rows(folder / POOL, iter(rows.values()), PROMPTS)
        return StepResult(draw.pool + unfinished.total(), kept, {**draw.dropped, **unfinished})

    return session.step(0, "gate_pool", make, config={}, inputs=declared)


def find_gate_pool(session: Session, held_out: Artifact) -> Artifact | None:
    """The same, once the campaign has begun."""
    made = current_artifact(session.store.layout, 0, "gate_pool")
    asked = session.config.gate.false_promotions is not None
    if asked and made is not None and made.entry.inputs["held_out"] == held_out.hash(POOL):
        return made
    return gate_pool(session, held_out)


def read_prompt_ids(pool: Path | None) -> set[str]:
    """Of the prompts in its file; none where there is none."""
    rows = read_rows(pool, ["prompt_id"]) if pool is not None else []
    return {row["prompt_id"] for row in rows}


def _inputs(session: Session, held_out: Artifact) -> dict[str, Input]:
    """What the pool was made of, if it was; else the held-out prompts, the pool before, and other
    held-out prompts that this campaign had before it was certified."""
    pools, held = (session.store.finished(0, step) for step in ("gate_pool", "held_out"))
    files = {entry.outputs[POOL]: _file(session, entry) for entry in (*pools, *held)}
    for entry in reversed(pools):
        if entry.inputs["held_out"] == held_out.hash(POOL):
            return {name: Input(found, files.get(found)) for name, found in entry.inputs.items()}
    others = [entry.outputs[POOL] for entry in held if files[entry.outputs[POOL]].exists()]
    numbered = enumerate(found for found in others if found != held_out.hash(POOL))
    before = {"before": pools[-1].outputs[POOL]} if pools else {}
    more = {**before, **{f"{_OTHER}{number}": found for number, found in numbered}}
    return {
        "held_out": held_out.input(POOL),
        **{name: Input(found, files[found]) for name, found in more.items()},
    }


def _file(session: Session, entry: Entry) -> Path:
    return session.store.layout.step(entry.round, entry.step, entry.fingerprint) / POOL


def _gate_prompts(held_out: Path) -> list[Prompt]:
    return [prompt for prompt in _prompts(held_out) if prompt.split == "gate"]


def _prompts(file: Path | None) -> Iterator[Prompt]:
    return map(prompt_from_row, iterate_rows(file)) if file is not None else iter(())


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


def complete_units(
    pool: Sequence[Prompt],
    looked: range,
    rows: Sequence[Mapping[str, Any]],
    samples: int,
    config: PromptsConfig,
) -> list[float]:
    """Outcomes of the units of which all comparisons are among `rows`, in the order of the pool.

    looked: places in the pool of the prompts that were compared, each `samples` times.
    """
    unit = {p.prompt_id: unit_of(p.prompt_id, p.extra, config) for p in pool}
    sizes = Counter(unit.values())
    seen = dict.fromkeys(unit[pool[place].prompt_id] for place in looked)
    told = [(unit[row["prompt_id"]], row["outcome"]) for row in rows if row["prompt_id"] in unit]
    return unit_outcomes(told, [(name, samples * sizes[name]) for name in seen])
