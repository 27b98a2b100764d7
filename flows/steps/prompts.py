"""Step `prompts`: the training prompts of a round, drawn from the pool and then frozen."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.store import Artifact, Made, current_artifact
from dpo_core.errors import InvariantViolated, PromptError
from dpo_core.import_path import source_hash
from dpo_core.records import PROMPTS, Prompt, prompt_row
from dpo_core.tables import read_rows, write_rows
from flows.policy import Played
from flows.session import Session
from flows.steps.suites import suite_prompts
from generation.config import PromptsConfig
from generation.prompts import Draw, draw_train, read_pool


def draw_prompts(
    session: Session, number: int, held_out: Artifact, earlier: Sequence[Played]
) -> Artifact:
    """`prompts.per_round` train prompts, those that earlier rounds used least first.

    None of a regression suite's. As with the pool's contents, a change of a suite draws nothing
    anew: the audit stops a round that would train on what became a suite's since.
    """
    config = session.config.prompts
    seed = session.seed("prompts", number)
    drawn = [made for played in earlier if (made := played.made["prompts"]) is not None]
    rounds = {f"round_{made.entry.round}": made.input("prompts.parquet") for made in drawn}

    def make(folder: Path, inputs: Inputs) -> Made:
        used = _used(map(inputs.path, rounds))
        unfinished = Counter[str]()
        suites = suite_prompts(session.config)
        pool = left_out(read_pool(config, unfinished), suites, unfinished)
        draw = draw_train(pool, config.per_round, seed, used, reuse=config.reuse)
        if not draw.prompts:
            raise PromptError(
                f"none of the {draw.pool} prompts falls into the train split",
                "Give more prompts, or lower prompts.gate_share and prompts.test_share.",
            )
        _check_disjoint(draw, inputs.path("held_out"))
        write_rows(folder / "prompts.parquet", map(prompt_row, draw.prompts), PROMPTS)
        facts = {"reused": sum(used[p.prompt_id] > 0 for p in draw.prompts)}
        came_in, dropped = draw.pool + unfinished.total(), {**draw.dropped, **unfinished}
        return Made(came_in, len(draw.prompts), dropped, facts=facts)

    return session.step(
        number,
        "prompts",
        make,
        config={**pool_config(config), "per_round": config.per_round, "seed": seed},
        inputs={
            "held_out": held_out.input("prompts.parquet"),
            **rounds,
        },
        functions=pool_functions(config),
    )


def left_out(
    pool: Iterator[Prompt], suites: Container[str], dropped: Counter[str]
) -> Iterator[Prompt]:
    """The pool without the prompts of regression suites, which are counted in `dropped`."""
    for prompt in pool:
        if prompt.split == "train" and prompt.prompt_id in suites:
            dropped["suite"] += 1
        else:
            yield prompt


def nothing_left(session: Session, number: int, earlier: Sequence[Played]) -> str | None:
    """Why round `number` has no prompts to draw, or None: some are left, or they were drawn."""
    config = session.config.prompts
    if config.reuse or current_artifact(session.layout, number, "prompts") is not None:
        return None
    drawn = (made for played in earlier if (made := played.made["prompts"]) is not None)
    used = _used(made.path("prompts.parquet") for made in drawn)
    pool = left_out(read_pool(config), suite_prompts(session.config), Counter())
    left = (p for p in pool if p.split == "train" and not used[p.prompt_id])
    if next(left, None) is not None:
        return None
    return (
        f"all {len(used):,} training prompts have been used, and prompts.reuse is false: "
        f"round {number} starts when new ones arrive"
    )


def pool_config(config: PromptsConfig) -> dict[str, Any]:
    """What the pool depends on; its contents are not part of it, so it may grow. Nor is whether
    prompts are used again: that says how later rounds go on."""
    given = config.model_dump(mode="json", exclude={"per_round", "reuse"})
    if config.dataset is None:
        del given["dataset"], given["dataset_split"]  # as before there were any
    if config.split_by == "prompt":
        del given["split_by"]
    return given


def pool_functions(config: PromptsConfig) -> Mapping[str, str]:
    return {config.function: source_hash(config.function)} if config.function else {}


def _used(drawn: Iterable[Path]) -> Counter[str]:
    """prompt_id → number of draws it was in."""
    return Counter(prompt_id for prompts in drawn for prompt_id in _prompt_ids(prompts))


def _prompt_ids(prompts: Path) -> list[str]:
    return [row["prompt_id"] for row in read_rows(prompts, ["prompt_id"])]


def _check_disjoint(draw: Draw, held_out: Path) -> None:
    shared = {p.prompt_id for p in draw.prompts} & set(_prompt_ids(held_out))
    if shared:
        raise InvariantViolated(
            f"{len(shared)} held-out prompts were drawn for training, {min(shared)} among them"
        )
