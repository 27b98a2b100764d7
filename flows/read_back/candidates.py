"""The pairs of a round as candidates for people, with what is known of them before anybody is
asked."""

from pathlib import Path

from dpo_core.tables import iterate_rows, read_rows
from flows.read_back.judgements import read_judgements
from labeling.pairs.for_people import Candidate, policy_uncertainty


def read_candidates(pairs: Path, judgements: Path | None, completions: Path) -> list[Candidate]:
    """One candidate per pair, in the order of the file; `judgements` are those of machines."""
    rows = read_rows(pairs, ["pair_id", "a", "b", "margin"])
    by_pair = read_judgements(judgements)
    logps = _token_logps(completions, {row[side] for row in rows for side in ("a", "b")})
    return [
        Candidate(
            row["pair_id"],
            tuple(by_pair.get(row["pair_id"], ())),
            row["margin"],
            policy_uncertainty(logps[row["a"]], logps[row["b"]]),
        )
        for row in rows
    ]


def _token_logps(completions: Path, wanted: set[str]) -> dict[str, list[float] | None]:
    rows = iterate_rows(completions, ["completion_id", "token_logps"])
    return {r["completion_id"]: r["token_logps"] for r in rows if r["completion_id"] in wanted}
