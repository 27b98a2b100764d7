"""Comparison with earlier rounds: ratings, forgotten prompts, and cycles of rounds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.round_parts import Estimate, ForgottenExample, ForgottenNumbers
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.cycles import find_cycles, win_rates
from dpo_core.evaluation.forgotten import ForgottenPrompts, find_forgotten
from dpo_core.evaluation.intervals import columns, fields_as_json
from dpo_core.evaluation.ratings import bradley_terry
from dpo_core.schemas import FORGOTTEN, MATCHES
from dpo_core.tables import write_rows
from flows.config.campaign import CampaignConfig
from flows.evaluation.held_out import Answers, HeldOutAnswers, Opponents, find_earlier_answers
from flows.evaluation.judging import Match
from flows.round_state import RoundRecord
from labeling.judges.config import machines

MATCHES_FILE = "matches.parquet"

_RATING_RESAMPLES = 1_000
"""Each fits all policies; more hardly change the bounds of an interval."""


@dataclass(frozen=True)
class Matches:
    """Columns of MATCHES, which may have many rows."""

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


def choose_earlier_opponents(
    config: CampaignConfig, others: Opponents, earlier: Sequence[RoundRecord]
) -> list[Answers]:
    """Policies of other rounds to compare with, besides the incumbent and the base.

    All of them if every judge scores, which makes matches free. A judge that reads pairs would read
    all test prompts for each, so it needs `evaluation.opponents: all`.
    """
    scored = all(member.gives == "score" for member in machines(config.held_out_judge))
    if not scored and config.evaluation.opponents != "all":
        return []
    known = {other.policy.round for other in others.answering.values()}
    return [answers for answers in find_earlier_answers(earlier) if answers.round not in known]


def write_matches(path: Path, number: int, matches: Sequence[Match]) -> None:
    """Write the decided matches of round `number`'s policy on test prompts, once per opponent."""
    by_round = {match.theirs.round: match for match in matches}
    rows = (
        {
            "first": number,
            "second": other,
            "prompt_id": row["prompt_id"],
            "sample_index": row["sample_index"],
            "outcome": row["outcome"],
        }
        for other, match in by_round.items()
        for row in match.rows(str(other))
        if row["split"] == "test" and row["outcome"] is not None
    )
    write_rows(path, rows, MATCHES)


def find_earlier_matches(earlier: Sequence[RoundRecord]) -> dict[str, Artifact]:
    """evaluation_<round> → the step with the matches of that round's policy."""
    steps = (record.steps.get("evaluation") for record in earlier)
    return {f"evaluation_{s.entry.round}": s for s in steps if s is not None}


def rate_policies(
    number: int, matches: Matches, config: EvaluationConfig
) -> tuple[dict[str, float | None], dict[str, Estimate]]:
    """Bradley–Terry ratings: (this round's, round → that of its policy, of all so far)."""
    if 0 not in matches.second:
        return {}, {}
    fitted = bradley_terry(
        matches.triples(),
        base=0,
        groups=matches.prompt_id,
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _RATING_RESAMPLES),
    )
    ratings = {str(policy): rating for policy, rating in fitted.items()}
    parts = {name: Estimate.model_validate(fields_as_json(r)) for name, r in ratings.items()}
    return columns("rating", ratings.get(str(number))), parts


EXAMPLES = 10

_CIRCLE_RESAMPLES = 500


def find_forgotten_prompts(
    folder: Path, number: int, matches: Matches, ours: HeldOutAnswers
) -> ForgottenNumbers:
    """Test prompts that an earlier policy or the base answered better, written to forgotten.parquet
    worst first, and counted with examples.

    With a judge that reads pairs, earlier policies are those of `evaluation.opponents`.
    """
    own = (row for row in matches.rows() if row[0] == number)
    forgotten = find_forgotten((prompt, other, outcome) for _, other, prompt, outcome in own)
    texts = {c.prompt.prompt_id: c.prompt.shown() for c in ours.test()}
    worse = [asdict(prompt) for prompt in forgotten.worse]
    rows = ({"prompt": texts[row["prompt_id"]], **row} for row in worse)
    return ForgottenNumbers(
        count=write_rows(folder / "forgotten.parquet", rows, FORGOTTEN),
        compared=forgotten.compared,
        gained=forgotten.gained,
        examples=tuple(ForgottenExample(**row) for row in worse[:EXAMPLES]),
        sentence=_forgotten_sentence(forgotten),
    )


def certain_cycles(matches: Matches, config: EvaluationConfig) -> list[list[int]]:
    """Cycles of rounds in which each beats the next, with all win-rate intervals above one half."""
    rates = win_rates(
        matches.triples(),
        groups=matches.prompt_id,
        confidence=config.confidence,
        resamples=min(config.bootstrap_resamples, _CIRCLE_RESAMPLES),
    )
    return [[int(str(p)) for p in cycle.policies] for cycle in find_cycles(rates) if cycle.sure]


def cycle_warnings(number: int, cycles: Sequence[Sequence[int]]) -> Iterator[tuple[str, str]]:
    """(name, sentence) of each cycle that this round closes; older ones were reported before."""
    for cycle in cycles:
        if number in cycle:
            names = [f"round {each}" if each else "the base" for each in cycle]
            pairs = zip(names, (*names[1:], names[0]), strict=True)
            text = ", ".join(f"{winner} beats {loser}" for winner, loser in pairs)
            yield (
                f"cycle {' '.join(map(str, cycle))}",
                f"{text[0].upper()}{text[1:]}: no rating can order them, so look at which answers "
                "win before choosing one.",
            )


def _forgotten_sentence(prompts: ForgottenPrompts) -> str:
    if not prompts.compared:
        return "No test prompt could be compared with an earlier round."
    return (
        f"{len(prompts.worse)} of {prompts.compared} test prompts are answered worse than in some "
        f"earlier round, {prompts.gained} better than in all of them."
    )
