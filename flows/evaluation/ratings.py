"""All rounds' policies on one scale, from matches on the same test prompts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.store import Artifact
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.intervals import Interval
from dpo_core.evaluation.ratings import bradley_terry
from dpo_core.records import MATCHES
from dpo_core.tables import write_rows
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import Answers, Others, answered_earlier
from flows.evaluation.judging import Match
from flows.policy import Played
from labeling.judges.config import machines

MATCHES_FILE = "matches.parquet"

_RESAMPLES = 1_000
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
    config: CampaignConfig, others: Others, earlier: Sequence[Played]
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


def earlier_matches(earlier: Sequence[Played]) -> dict[str, Artifact]:
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
        resamples=min(config.bootstrap_resamples, _RESAMPLES),
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
