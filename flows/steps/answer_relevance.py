"""Step `answer_relevance`: what the base makes of a policy's answers after their own requests and
after others. No judge has a part in it, and the base's own answers are asked about once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.evaluation.relevance import draw_others
from dpo_core.hashing import derive_seed
from dpo_core.records import Completion
from dpo_core.schemas import RELEVANCE, SCORED
from dpo_core.tables import read_rows, write_rows
from flows.round_state import EvaluatedPolicy, Policy
from flows.read_records import read_completions, read_prompts
from flows.session import Session
from flows.steps.answer_logps import find_logps

MOST_ANSWERS = 96
"""Each takes as many log-probs as there are requests. At 90 % the ends of the interval of so many
lie 6 points away, and they cost no more than to sample the 512 held-out answers of a default round
(benchmarks/2026-11-30-relevance.md)."""

Requests = Mapping[str, Sequence[str]]
"""completion_id → prompt_ids, its own first; none for an empty answer."""


def needs_relevance(session: Session, answered: EvaluatedPolicy, held_out: Artifact) -> bool:
    """Whether the base is to be asked about the policy's answers, and was not: it was before, but
    where the config has changed since, as in a branch."""
    count, made = session.config.evaluation.requests, answered.relevance
    if count is None or (made is not None and made.entry.facts["requests"] == count):
        return False
    return len(_askable(session, held_out.path("prompts.parquet"))) > 0


def answer_relevance(
    session: Session, answered: EvaluatedPolicy, base: Policy, held_out: Artifact
) -> Artifact:
    """Log-probs of the policy's answers to test prompts under the base: after their own requests,
    and after others that are the same in every round."""
    count, seed = session.config.evaluation.requests, session.seed("relevance")
    assert count is not None, "asks_whose says so"

    def make(folder: Path, inputs: Inputs) -> StepResult:
        askable = _askable(session, inputs.path("held_out"))
        said = read_completions(inputs.path("answers"), inputs.path("held_out"))
        one_each = {c.prompt.prompt_id: c for c in said if c.sample_index == 0}
        known = [p for p in sorted(one_each) if p in askable]
        test = [one_each[p] for p in known if one_each[p].prompt.split == "test"]
        requests = {c.completion_id: draw_requests(c, known, count, seed) for c in test[:MOST_ANSWERS]}
        left_out = {"not_asked": len(test) - len(requests)}
        left_out["empty"] = sum(not asked for asked in requests.values())
        placed, seconds = place_answers(
            session, folder, inputs.path("base_policy"), inputs.path("answers"), requests
        )
        rows = [
            {"completion_id": i, "requests": asked, "logps": placed[i]}
            for i, asked in requests.items()
        ]
        write_rows(folder / "relevance.parquet", rows, RELEVANCE)
        dropped = {reason: left for reason, left in left_out.items() if left}
        facts = {"requests": count, "seconds_start": seconds}
        return StepResult(len(test), len(test) - sum(dropped.values()), dropped, facts)

    return session.step(
        answered.policy.round,
        "answer_relevance",
        make,
        config={"requests": session.config.evaluation.relevance, "seed": seed},
        inputs={
            "answers": answered.answers.input("completions.parquet"),
            "base_policy": base.input,
            "held_out": held_out.input("prompts.parquet"),
        },
    )


def _askable(session: Session, held_out: Path) -> set[str]:
    """Prompts among which a request is looked for: chats alone, unless a number asks for all."""
    chats_alone = session.config.evaluation.relevance == "auto"
    found = read_prompts(held_out).values()
    return {p.prompt_id for p in found if p.messages is not None or not chats_alone}


def draw_requests(answer: Completion, prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` prompts for the answer to be placed among, its own first."""
    own = answer.prompt.prompt_id
    others = draw_others(own, prompts, count - 1, derive_seed(seed, own))
    return [] if answer.is_empty else [own, *others]


def place_answers(
    session: Session, folder: Path, base: Path, answers: Path, requests: Requests
) -> tuple[dict[str, list[float]], float]:
    """completion_id → log-probs of that answer after each of its requests; and the seconds until
    the base was loaded. folder: for files that are gone afterwards."""
    found = read_rows(answers, ["prompt_id", *SCORED.names])
    prompts = {row["prompt_id"]: row["prompt_token_ids"] for row in found}
    said = {row["completion_id"]: row["token_ids"] for row in found}
    rows: list[dict[str, Any]] = [
        {"completion_id": f"{i}/{p}", "prompt_token_ids": prompts[p], "token_ids": said[i]}
        for i, asked in requests.items()
        for p in asked
    ]
    # Alike in length, side by side: less padding, where prompts are not shared.
    rows.sort(key=lambda row: len(row["prompt_token_ids"]) + len(row["token_ids"]))
    logps, seconds = find_logps(session, base, rows, folder)
    return {i: [logps[f"{i}/{p}"] for p in asked] for i, asked in requests.items()}, seconds
