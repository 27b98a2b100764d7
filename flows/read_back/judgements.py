"""The pairs of a round, what judges that need no person said of them, and how reliable that is."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from dpo_core.records import Completion, Judgement, Pair
from dpo_core.tables import iterate_rows, read_rows
from flows.read_back.completions import read_completions
from labeling.aggregation.calibration import Reliability


def read_pairs(pairs: Path, completions: Path, prompts: Path) -> list[Pair]:
    """The pairs of a round with their completions, in the order of the file."""
    return pairs_of(pairs, {c.completion_id: c for c in read_completions(completions, prompts)})


def pairs_of(pairs: Path, by_id: Mapping[str, Completion]) -> list[Pair]:
    """The same, of completions that were read already."""
    rows = read_rows(pairs)
    return [Pair(row["pair_id"], by_id[row["a"]], by_id[row["b"]]) for row in rows]


def read_judgements(judgements: Path | None) -> dict[str, list[Judgement]]:
    """pair_id → what each judge that needs no person says; without reasons and replies."""
    found: dict[str, list[Judgement]] = defaultdict(list)
    if judgements is not None:
        said = ("verdict", "confidence", "forward", "backward")
        for row in iterate_rows(judgements, ["pair_id", *said]):
            found[row["pair_id"]].append(Judgement(**{name: row[name] for name in said}))
    return found


def read_reliability(reliability: Path | None) -> list[Reliability]:
    """Of each judgement of the round whether it is reliable; nothing where nothing is known."""
    if reliability is None:
        return []
    rows = read_rows(reliability)
    return [Reliability(**row) for row in rows]
