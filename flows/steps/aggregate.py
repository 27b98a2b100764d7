"""Step `preferences`: what the judgements of each pair amount to."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import PREFERENCES, Judgement
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.session import Session
from labeling.aggregation.votes import aggregate


def aggregate_preferences(
    session: Session, number: int, pairs: Artifact, judgements: Artifact
) -> Artifact:
    """One preference per decided pair; undecided pairs are counted by reason."""

    def make(folder: Path) -> Made:
        dropped: Counter[str] = Counter()
        by_pair: dict[str, list[tuple[str, Judgement]]] = defaultdict(list)
        for row in read_rows(judgements.path("judgements.parquet")):
            by_pair[row["pair_id"]].append((row["source"], Judgement(row["verdict"])))

        def rows() -> Iterator[dict[str, Any]]:
            for pair in iterate_rows(pairs.path("pairs.parquet")):
                found = aggregate([judgement for _, judgement in by_pair[pair["pair_id"]]])
                if isinstance(found, str):
                    dropped[found] += 1
                    continue
                yield {
                    "pair_id": pair["pair_id"],
                    "prompt_id": pair["prompt_id"],
                    "chosen": pair[found.better],
                    "rejected": pair["b" if found.better == "a" else "a"],
                    "p_chosen": found.p_chosen,
                    "sources": [source for source, _ in by_pair[pair["pair_id"]]],
                    "agreement": found.agreement,
                }

        kept = write_rows(folder / "preferences.parquet", rows(), PREFERENCES)
        return Made(kept + dropped.total(), kept, dict(sorted(dropped.items())))

    inputs = {
        "pairs": pairs.hash("pairs.parquet"),
        "judgements": judgements.hash("judgements.parquet"),
    }
    return session.step(number, "preferences", make, config={}, inputs=inputs)
