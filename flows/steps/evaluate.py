"""Step `evaluation`: is the candidate better than the last promoted policy and the base, and at
what distance from them? What is compared is prompt by prompt, on held-out prompts."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.store import Artifact, Made
from dpo_core.evaluation.comparison import Comparison
from dpo_core.records import OUTCOMES
from dpo_core.tables import write_rows
from flows.evaluation.descriptions import descriptions
from flows.evaluation.distances import distances
from flows.evaluation.held_out import Answers, Others
from flows.evaluation.judging import Match, judges_behaviour, play_match
from flows.policy import Answered
from flows.session import Session
from flows.steps.judge import judge_config, judges_functions

Rows = list[dict[str, Any]]


def evaluate(
    session: Session,
    number: int,
    candidate: Answered,
    others: Others,
    logps: Artifact | None,
    held_out: Artifact,
) -> Artifact:
    """Win rates, KL, length and judge statistics of the candidate, with intervals."""
    config = session.config.evaluation

    def make(folder: Path) -> Made:
        ours = Answers.of(candidate).read(held_out)
        theirs = {name: Answers.of(o).read(held_out) for name, o in others.answering.items()}
        matches = {name: play_match(session, ours, other) for name, other in theirs.items()}
        rows = list(_outcomes(matches))
        write_rows(folder / "outcomes.parquet", rows, OUTCOMES)
        numbers = {
            **_win_rates(session, rows),
            **distances(candidate, ours, others, logps, config),
            **descriptions(ours, theirs, config),
        }
        write_json(folder / "evaluation.json", numbers)
        undecided = sum(row["outcome"] is None for row in rows)
        dropped = {"unreadable": undecided} if undecided else {}
        facts = {"judges": judges_behaviour(list(matches.values())), **session.judges.started()}
        versions = dict(session.judges.versions)
        return Made(len(rows), len(rows) - undecided, dropped, facts, versions)

    return session.step(
        number,
        "evaluation",
        make,
        config={
            **config.model_dump(mode="json"),
            **judge_config(session.config.held_out_judge),
        },
        inputs=_inputs(candidate, others, logps),
        functions=judges_functions(session.config.held_out_judge),
    )


def _inputs(candidate: Answered, others: Others, logps: Artifact | None) -> Mapping[str, str]:
    inputs = {"candidate_policy": candidate.policy.id}
    inputs |= {f"{name}_policy": policy.id for name, policy in others.policies.items()}
    for name, answered in {"candidate": candidate, **others.answering}.items():
        inputs |= Answers.of(answered).inputs(name)
    if logps is not None:
        inputs["logps"] = logps.hash("logps.parquet")
    return inputs


def _outcomes(matches: Mapping[str, Match]) -> Iterator[dict[str, Any]]:
    """One row per opponent and pair; 1: the candidate won."""
    for name, match in matches.items():
        yield from ({"opponent": name, **row} for row in match.rows())


def _win_rates(session: Session, rows: Rows) -> dict[str, Any]:
    compare = Comparison(session.config.evaluation)
    decided = [row for row in rows if row["outcome"] is not None]

    def of(opponent: str, split: str) -> Rows:
        return [r for r in decided if r["opponent"] == opponent and r["split"] == split]

    numbers = {
        **compare.win_rate("win_rate_previous", of("previous", "test")),
        **compare.win_rate("win_rate_base", of("base", "test")),
        **compare.win_rate("win_rate_gate", of("previous", "gate")),
    }
    for split in ("gate", "test"):
        numbers[f"{split}_prompts"] = len({r["prompt_id"] for r in of("previous", split)})
    return numbers
