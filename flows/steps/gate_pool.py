"""Step `gate_pool`: the gate prompts that a certified campaign may use, ordered by hash, and never
trained on.

The order is frozen when it is first made. If the held-out prompts are drawn again, the pool grows
at its end.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.remote import is_somewhere
from dpo_core.errors import PromptError
from dpo_core.evaluation.certification import unit_outcomes
from dpo_core.records import Prompt, PromptRow, prompt_from_row, prompt_row
from dpo_core.schemas import PROMPTS, OutcomeRow
from dpo_core.tables import iterate_as, read_rows, write_rows
from flows.config import CampaignConfig
from flows.session import Session
from generation.config import PromptsConfig
from generation.prompts import draw_held_out, read_pool, split_unit

POOL = "prompts.parquet"
_OTHER = "held_out_"
MOST = 100_000
"""Most prompts that are reserved. They must be known before the base is trained."""


def gate_pool(session: Session, held_out: Artifact) -> Artifact | None:
    """The gate prompts of `held_out`, then all others; None where the gate is not certified."""
    if session.config.gate.false_promotions is None:
        return None
    config = session.at_round(0).config  # a branch uses the prompts that its parent began with
    declared = _inputs(session, held_out)
    others = [name for name in declared if name.startswith(_OTHER)]

    def make(folder: Path, inputs: Inputs) -> StepResult:
        unfinished = Counter[str]()
        pool = _checked(read_pool(config.prompts, unfinished), config)
        draw = draw_held_out(pool, MOST, 0, config.prompts)
        known = [*_prompts(inputs.find("before")), *_gate_prompts(inputs.path("held_out"))]
        used = (p.prompt_id for name in others for p in _gate_prompts(inputs.path(name)))
        excluded = _find_trained(config) | set(used)
        new = [prompt for prompt in draw.prompts if prompt.prompt_id not in excluded]
        rows = {prompt.prompt_id: prompt_row(prompt) for prompt in [*known, *new]}
        kept = write_rows(folder / POOL, iter(rows.values()), PROMPTS)
        return StepResult(draw.pool + unfinished.total(), kept, {**draw.dropped, **unfinished})

    return session.step(0, "gate_pool", make, config={}, inputs=declared)


def find_gate_pool(session: Session, held_out: Artifact) -> Artifact | None:
    """The pool as it is on disk; made if it is missing."""
    pool = current_artifact(session.store.layout, 0, "gate_pool")
    certified = session.config.gate.false_promotions is not None
    if certified and pool is not None and pool.entry.inputs["held_out"] == held_out.hash(POOL):
        return pool
    return gate_pool(session, held_out)


def read_prompt_ids(pool: Path | None) -> set[str]:
    """Ids of the prompts in a file; empty without one."""
    rows = read_rows(pool, ["prompt_id"]) if pool is not None else []
    return {row["prompt_id"] for row in rows}


def _inputs(session: Session, held_out: Artifact) -> dict[str, Input]:
    """The inputs that the pool was made of. For a new one: the held-out prompts, the pool before,
    and other held-out prompts from before the campaign was certified."""
    pools, held = (session.store.finished(0, step) for step in ("gate_pool", "held_out"))
    folder = session.store.layout.step
    files = {e.outputs[POOL]: folder(0, e.step, e.fingerprint) / POOL for e in (*pools, *held)}
    for entry in reversed(pools):
        if entry.inputs["held_out"] == held_out.hash(POOL):
            return {name: Input(sha, files.get(sha)) for name, sha in entry.inputs.items()}
    others = [
        entry.outputs[POOL]
        for entry in held
        if is_somewhere(files[entry.outputs[POOL]].parent, POOL)
    ]
    numbered = enumerate(sha for sha in others if sha != held_out.hash(POOL))
    before = {"before": pools[-1].outputs[POOL]} if pools else {}
    more = {**before, **{f"{_OTHER}{number}": sha for number, sha in numbered}}
    return {
        "held_out": held_out.input(POOL),
        **{name: Input(sha, files[sha]) for name, sha in more.items()},
    }


def _gate_prompts(held_out: Path) -> list[Prompt]:
    return [prompt for prompt in _prompts(held_out) if prompt.split == "gate"]


def _prompts(file: Path | None) -> Iterator[Prompt]:
    return map(prompt_from_row, iterate_as(file, PromptRow)) if file is not None else iter(())


def _checked(pool: Iterable[Prompt], config: CampaignConfig) -> Iterator[Prompt]:
    """Raise PromptError for groups that may be split: training would reveal the gate's prompts."""
    for prompt in pool:
        if config.prompts.split_by == "prompt" and prompt.extra.get("group") is not None:
            raise PromptError(
                "the prompts' `group` field marks similar prompts, but they may fall into "
                "different splits, and gate.false_promotions assumes independent ones",
                "Set prompts.split_by to group, or rename the field if it means something else.",
            )
        yield prompt


def _find_trained(config: CampaignConfig) -> set[str]:
    """Training prompts, which a group may hold beside the gate's."""
    if config.prompts.split_by == "prompt":
        return set()
    return {p.prompt_id for p in read_pool(config.prompts) if p.split == "train"}


def complete_units(
    pool: Sequence[Prompt],
    looked: range,
    rows: Iterable[OutcomeRow],
    samples: int,
    config: PromptsConfig,
) -> list[float]:
    """Outcomes, in pool order, of the units whose comparisons are all among `rows`.

    looked: pool indices of the compared prompts, each compared `samples` times.
    """
    unit = {p.prompt_id: split_unit(p.prompt_id, p.extra, config) for p in pool}
    sizes = Counter(unit.values())
    seen = dict.fromkeys(unit[pool[place].prompt_id] for place in looked)
    decided = [(unit[r["prompt_id"]], r["outcome"]) for r in rows if r["prompt_id"] in unit]
    return unit_outcomes(decided, [(name, samples * sizes[name]) for name in seen])
