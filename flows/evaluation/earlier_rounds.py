"""What the policy does worse than earlier ones: forgotten prompts, and circles of rounds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.artifacts import Artifact
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.cycles import find_cycles, win_rates
from dpo_core.evaluation.forgotten import ForgottenPrompts, find_forgotten
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.ratings import bradley_terry
from dpo_core.schemas import FORGOTTEN, MATCHES
from dpo_core.tables import write_rows
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import Answers, HeldOutAnswers, Opponents, answered_earlier
from flows.evaluation.judging import Match
from flows.policy import RoundRecord
from labeling.judges.config import machines

MATCHES_FILE = "matches.parquet"

_RATING_RESAMPLES = 1_000
"""A fit of all policies each; the ends of an interval hardly move with more."""


@dataclass(frozen=True)
class Matches:
    """Columns of MATCHES, of which there may be many."""

    first: list[int]
    second: list[int]
    prompt_id: list[str]
    outcome: list[float]

    @classmethod
    def read(cls, files: Sequence[Path]) -> "Matches":
        tables = [pq.read_table(file, columns=[f.name for f in fields(cls)]) for file in files]
        return cls(*(pa.concat_tables(tables)[f.name].to_pylist() for f in fields(cls)))

    def rows(self) -> Iterator[tuple[int, int, str, float]]:
        return zip(self.first, self.second, self.prompt_id, self.outcome, strict=True)

    def triples(self) -> list[tuple[int, int, float]]:
        return list(zip(self.first, self.second, self.outcome, strict=True))


def more_opponents(
    config: CampaignConfig, others: Opponents, earlier: Sequence[RoundRecord]
) -> list[Answers]:
    """The policies of other rounds, besides the previous one and the base, to be compared with.

    All of them where every judge scores: then matches cost nothing. Where one reads pairs, each of
    them would be a reading of all test prompts: only for `evaluation.opponents: all`.
    """
    scored = all(
        getattr(member, "gives", None) == "score" for member in machines(config.held_out_judge)
    )
    if not scored and config.evaluation.opponents != "all":
        return []
    known = {other.policy.round for other in others.answering.values()}
    return [answers for answers in answered_earlier(earlier) if answers.round not in known]


def write_matches(path: Path, number: int, matches: Sequence[Match]) -> None:
    """The decided matches of round `number`'s policy on test prompts, each opponent's once."""
    by_round = {match.theirs.round: match for match in matches}
    write_rows(path, _rows(number, by_round), MATCHES)


def earlier_matches(earlier: Sequence[RoundRecord]) -> dict[str, Artifact]:
    """evaluation_<round> → the step that holds the matches of that round's policy."""
    made = (played.made.get("evaluation") for played in earlier)
    return {f"evaluation_{m.entry.round}": m for m in made if m is not None}


def ratings(number: int, matches: Matches, config: EvaluationConfig) -> dict[str, Any]:
    """The strengths of all policies so far, and this round's among them; see bradley_terry."""
    if 0 not in matches.second:
        return {"ratings": {}}
    found = bradley_terry(
        matches.triples(),
        base=0,
        groups=matches.prompt_id,
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RATING_RESAMPLES),
    )
    told = {str(policy): _told(rating) for policy, rating in found.items()}
    own = told.get(str(number), {})
    ends = {"": "estimate", "_low": "low", "_high": "high"}
    return {"ratings": told, **{f"rating{end}": own.get(key) for end, key in ends.items()}}


def _rows(number: int, by_round: Mapping[int, Match]) -> Iterator[dict[str, Any]]:
    for other, match in by_round.items():
        for row in match.rows():
            if row["split"] == "test" and row["outcome"] is not None:
                named = {name: row[name] for name in ("prompt_id", "sample_index", "outcome")}
                yield {"first": number, "second": other, **named}


def _told(rating: Interval) -> dict[str, float | None]:
    """NaN, of a policy that nothing connects with the base, is None."""
    values = {"estimate": rating.estimate, "low": rating.low, "high": rating.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


EXAMPLES = 10

_CIRCLE_RESAMPLES = 500


def forgotten_prompts(
    path: Path, number: int, met: Matches, ours: HeldOutAnswers
) -> dict[str, Any]:
    """Test prompts that an earlier round's policy, or the base, answered better: listed in `path`,
    worst first, with a few as examples here. gained: answered better than by all of those.

    With a judge that reads pairs, the earlier ones are those it compared: `evaluation.opponents`.
    """
    own = (row for row in met.rows() if row[0] == number)
    found = find_forgotten((prompt, other, outcome) for _, other, prompt, outcome in own)
    shown = {c.prompt.prompt_id: c.prompt.shown() for c in ours.test()}
    rows = [
        {
            "prompt_id": one.prompt_id,
            "prompt": shown[one.prompt_id],
            "better_in": one.better_in,
            "outcome": one.outcome,
            "answers": one.answers,
        }
        for one in found.worse
    ]
    write_rows(path, rows, FORGOTTEN)
    examples = [{k: v for k, v in row.items() if k != "prompt"} for row in rows[:EXAMPLES]]
    return {
        "count": len(rows),
        "compared": found.compared,
        "gained": found.gained,
        "examples": examples,
        "sentence": _sentence(found),
    }


def circles(met: Matches, config: EvaluationConfig) -> list[list[int]]:
    """Rounds of which each beats the next and the last the first, each of it beyond chance: the
    interval of every one of these win rates lies above one half."""
    rates = win_rates(
        met.triples(),
        groups=met.prompt_id,
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _CIRCLE_RESAMPLES),
    )
    return [[int(str(p)) for p in circle.policies] for circle in find_cycles(rates) if circle.sure]


def told(number: int, found: Sequence[Sequence[int]]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each circle that this round closes; older ones were told before."""
    for circle in found:
        if number in circle:
            steps = zip(circle, (*circle[1:], circle[0]), strict=True)
            said = ", ".join(f"{_named(winner)} beats {_named(loser)}" for winner, loser in steps)
            yield (
                f"cycle {' '.join(map(str, circle))}",
                f"{said[0].upper()}{said[1:]}: no rating can order them, so look at which answers "
                "win before choosing one.",
            )


def _named(round_: int) -> str:
    return f"round {round_}" if round_ else "the base"


def _sentence(found: ForgottenPrompts) -> str:
    if not found.compared:
        return "No test prompt could be compared with an earlier round."
    return (
        f"{len(found.worse)} of {found.compared} test prompts are answered worse than in some "
        f"earlier round, {found.gained} better than in all of them."
    )
