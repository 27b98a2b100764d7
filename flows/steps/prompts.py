"""Step `prompts`: the training prompts of a round, drawn from the pool and then frozen."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.layout import DRAW
from dpo_core.campaign.step_facts import PromptsFacts
from dpo_core.errors import InvariantViolated, PromptError
from dpo_core.import_path import source_hash
from dpo_core.records import Prompt, prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import read_rows, write_rows
from flows.round_state import RoundRecord
from flows.session import Session
from flows.steps.suites import suite_prompts
from generation.config import PromptsConfig
from generation.informative import PromptHistory, collect_histories, draw_informative
from generation.prompts import Draw, draw_train, read_pool

DRAWN = "drawn_before"
"""Why prompts of an earlier draw of the round are dropped."""

_PAIRS = "_pairs"


@dataclass(frozen=True)
class PromptDraw:
    """One of a round's several draws: its number from 1, the prompts it wants, the draws before."""

    number: int
    prompts: int
    before: Sequence[Artifact] = ()

    @property
    def ending(self) -> str:
        """Suffix of its steps' names."""
        return f"{DRAW}{self.number}"

    def inputs(self) -> dict[str, Input]:
        return {
            f"draw_{number}": draw.input("prompts.parquet")
            for number, draw in enumerate(self.before, 1)
        }


def draw_prompts(
    session: Session,
    number: int,
    held_out: Artifact,
    earlier: Sequence[RoundRecord],
    part: PromptDraw | None = None,
) -> Artifact:
    """Draw `prompts.per_round` training prompts, or what a `part` wants besides earlier parts.

    The least used come first, or those that `prompts.prefer` names. Prompts of regression suites
    are left out. A suite that changes later triggers no new draw: the audit stops such a round.
    """
    config = session.config.prompts
    seed = session.seed("prompts", number)
    count = config.per_round if part is None else part.prompts
    rounds, parts = _earlier_inputs(earlier, config), part.inputs() if part is not None else {}

    def make(folder: Path, inputs: Inputs) -> StepResult:
        seen = _read_history(inputs, rounds)
        unfinished = Counter[str]()
        suites = suite_prompts(session)
        pool = leave_out(read_pool(config, unfinished), suites, unfinished)
        before = {i for name in parts for i in _prompt_ids(inputs.path(name))}
        if before:
            pool = leave_out(pool, before, unfinished, DRAWN)
        draw = _draw(pool, count, seed, seen, config)
        if not draw.prompts and not before:
            raise PromptError(
                f"none of the {draw.pool} prompts falls into the train split",
                "Give more prompts, or lower prompts.gate_share and prompts.test_share.",
            )
        _check_disjoint(draw, inputs.path("held_out"))
        write_rows(folder / "prompts.parquet", map(prompt_row, draw.prompts), PROMPTS)
        facts = PromptsFacts(reused=sum(p.prompt_id in seen for p in draw.prompts))
        came_in, dropped = draw.pool + unfinished.total(), {**draw.dropped, **unfinished}
        return StepResult(came_in, len(draw.prompts), dropped, facts=facts)

    preference = config.model_dump(include={"prefer", "unseen_floor"})
    return session.step(
        number,
        "prompts" if part is None else f"prompts{part.ending}",
        make,
        config={
            **pool_config(config),
            **(preference if config.prefer == "informative" else {}),
            "per_round": count,
            "seed": seed,
        },
        inputs={"held_out": held_out.input("prompts.parquet"), **rounds, **parts},
        functions=pool_functions(config),
    )


def _earlier_inputs(earlier: Sequence[RoundRecord], config: PromptsConfig) -> dict[str, Input]:
    """What earlier rounds drew, oldest first; with their pairs for informative draws."""
    inputs: dict[str, Input] = {}
    for record in earlier:
        drawn, pairs = record.steps["prompts"], record.steps["pairs"]
        if drawn is not None:
            inputs[f"round_{drawn.entry.round}"] = drawn.input("prompts.parquet")
            if config.prefer == "informative" and pairs is not None:
                inputs[f"round_{drawn.entry.round}{_PAIRS}"] = pairs.input("pairs.parquet")
    return inputs


def _read_history(inputs: Inputs, rounds: Iterable[str]) -> dict[str, PromptHistory]:
    """What earlier rounds learnt about the prompts that they drew."""
    drawn = [name for name in rounds if not name.endswith(_PAIRS)]
    return collect_histories(
        (_prompt_ids(inputs.path(name)), _read_informative(inputs.find(f"{name}{_PAIRS}")))
        for name in drawn
    )


def _read_informative(pairs: Path | None) -> set[str]:
    """Prompts with a pair whose answers were scored differently."""
    rows = read_rows(pairs, ["prompt_id", "margin"]) if pairs is not None else []
    return {row["prompt_id"] for row in rows if row["margin"]}


def _draw(
    pool: Iterator[Prompt],
    count: int,
    seed: int,
    seen: Mapping[str, PromptHistory],
    config: PromptsConfig,
) -> Draw:
    if config.prefer == "informative":
        return draw_informative(pool, count, seed, seen, config.unseen_floor)
    used = {prompt_id: history.draws for prompt_id, history in seen.items()}
    return draw_train(pool, count, seed, used, reuse=config.reuse)


def leave_out(
    pool: Iterator[Prompt], those: Container[str], dropped: Counter[str], why: str = "suite"
) -> Iterator[Prompt]:
    """The pool without the training prompts in `those`, which are counted in `dropped`."""
    for prompt in pool:
        if prompt.split == "train" and prompt.prompt_id in those:
            dropped[why] += 1
        else:
            yield prompt


def prompts_used_up(session: Session, number: int, earlier: Sequence[RoundRecord]) -> str | None:
    """Why round `number` has no prompts to draw; None if some are left or it has drawn them."""
    config = session.config.prompts
    if config.reuse or current_artifact(session.layout, number, "prompts") is not None:
        return None
    drawn = (prompts for record in earlier if (prompts := record.steps["prompts"]) is not None)
    used = {i for prompts in drawn for i in _prompt_ids(prompts.path("prompts.parquet"))}
    pool = leave_out(read_pool(config), suite_prompts(session), Counter())
    left = (p for p in pool if p.split == "train" and p.prompt_id not in used)
    if next(left, None) is not None:
        return None
    return (
        f"all {len(used):,} training prompts have been used, and prompts.reuse is false: "
        f"round {number} starts when new ones arrive"
    )


def pool_config(config: PromptsConfig) -> Mapping[str, object]:
    """What the pool depends on: not its contents, which may grow, nor how rounds draw from it."""
    pool = config.model_dump(mode="json", exclude={"per_round", "reuse", "prefer", "unseen_floor"})
    if config.dataset is None:
        del pool["dataset"], pool["dataset_split"]  # older versions had neither
    if config.split_by == "prompt":
        del pool["split_by"]
    return pool


def pool_functions(config: PromptsConfig) -> Mapping[str, str]:
    return {config.function: source_hash(config.function)} if config.function else {}


def _prompt_ids(prompts: Path) -> list[str]:
    return [row["prompt_id"] for row in read_rows(prompts, ["prompt_id"])]


def _check_disjoint(draw: Draw, held_out: Path) -> None:
    shared = {p.prompt_id for p in draw.prompts} & set(_prompt_ids(held_out))
    if shared:
        raise InvariantViolated(
            f"{len(shared)} held-out prompts were drawn for training, {min(shared)} among them"
        )
