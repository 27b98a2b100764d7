"""Step `answer_relevance`: the base's log-probs of a policy's answers after their own requests and
after others. No judge takes part; the base's own answers are measured once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.step_facts import RelevanceFacts
from dpo_core.evaluation.relevance import draw_others
from dpo_core.hashing import derive_seed
from dpo_core.records import Completion
from dpo_core.schemas import RELEVANCE, SCORED, ScoredRow
from dpo_core.tables import read_rows, write_rows
from flows.read_records import read_completions, read_prompts
from flows.round_state import EvaluatedPolicy, Policy
from flows.session import Session
from flows.steps.answer_logps import find_logps

MOST_ANSWERS = 96
"""Each needs one log-prob per request. The interval at 90 % is then ±6 points, at the cost of
sampling the 512 held-out answers of a default round (benchmarks/2026-11-30-relevance.md)."""

Requests = Mapping[str, Sequence[str]]
"""completion_id → prompt_ids, its own first; empty for an empty answer."""


def needs_relevance(session: Session, evaluated: EvaluatedPolicy, held_out: Artifact) -> bool:
    """Whether relevance is to be measured and was not, under the config that counts now."""
    count, measured = session.config.evaluation.requests, evaluated.relevance
    if count is None or (measured is not None and measured.facts(RelevanceFacts).requests == count):
        return False
    return bool(_find_requests(session, held_out.path("prompts.parquet")))


def answer_relevance(
    session: Session, evaluated: EvaluatedPolicy, base: Policy, held_out: Artifact
) -> Artifact:
    """The base's log-probs of answers to test prompts, after their own requests and after others
    that are the same in every round."""
    count, seed = session.config.evaluation.requests, session.seed("relevance")
    assert count is not None, "needs_relevance checked it"

    def make(folder: Path, inputs: Inputs) -> StepResult:
        candidates = _find_requests(session, inputs.path("held_out"))
        answers = read_completions(inputs.path("answers"), inputs.path("held_out"))
        first = {c.prompt.prompt_id: c for c in answers if c.sample_index == 0}
        known = [p for p in sorted(first) if p in candidates]
        test = [first[p] for p in known if first[p].prompt.split == "test"]
        requests = {
            c.completion_id: draw_requests(c, known, count, seed) for c in test[:MOST_ANSWERS]
        }
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
        facts = RelevanceFacts(requests=count, seconds_start=seconds)
        return StepResult(len(test), len(test) - sum(dropped.values()), dropped, facts)

    return session.step(
        evaluated.policy.round,
        "answer_relevance",
        make,
        config={"requests": session.config.evaluation.relevance, "seed": seed},
        inputs={
            "answers": evaluated.answers.input("completions.parquet"),
            "base_policy": base.input,
            "held_out": held_out.input("prompts.parquet"),
        },
    )


def _find_requests(session: Session, held_out: Path) -> set[str]:
    """Prompts that answers are placed among: chats alone with `auto`, all with a number."""
    chats_alone = session.config.evaluation.relevance == "auto"
    prompts = read_prompts(held_out).values()
    return {p.prompt_id for p in prompts if p.messages is not None or not chats_alone}


def draw_requests(answer: Completion, prompts: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` prompts to place the answer among, its own first."""
    own = answer.prompt.prompt_id
    others = draw_others(own, prompts, count - 1, derive_seed(seed, own))
    return [] if answer.is_empty else [own, *others]


def place_answers(
    session: Session, folder: Path, base: Path, answers: Path, requests: Requests
) -> tuple[dict[str, list[float]], float]:
    """(completion_id → log-probs of that answer after each of its requests, seconds to load).

    folder: for temporary files.
    """
    read = read_rows(answers, ["prompt_id", *SCORED.names])
    prompts = {row["prompt_id"]: row["prompt_token_ids"] for row in read}
    tokens = {row["completion_id"]: row["token_ids"] for row in read}
    rows = [
        ScoredRow(completion_id=f"{i}/{p}", prompt_token_ids=prompts[p], token_ids=tokens[i])
        for i, asked in requests.items()
        for p in asked
    ]
    # Similar lengths together: less padding where prompts are not shared.
    rows.sort(key=lambda row: len(row["prompt_token_ids"]) + len(row["token_ids"]))
    logps, seconds = find_logps(session, base, rows, folder)
    return {i: [logps[f"{i}/{p}"] for p in asked] for i, asked in requests.items()}, seconds
