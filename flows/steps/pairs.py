"""Step `pairs`: which two completions of each prompt are compared."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import PAIRS
from dpo_core.tables import write_rows
from flows.session import Session
from flows.steps.completions import by_prompt, read_completions, read_scores
from labeling.judges.config import machines
from labeling.pairs.selection import select_pair


def select_pairs(
    session: Session, number: int, completions: Artifact, prompts: Artifact, scores: Artifact | None
) -> Artifact:
    """At most one pair per prompt; prompts without one are counted by reason."""
    seed = session.seed("pairs", number)

    def make(folder: Path) -> Made:
        dropped: Counter[str] = Counter()
        by_id = read_scores(scores, session.config.judge)

        def rows() -> Iterator[dict[str, Any]]:
            for _, answers in by_prompt(read_completions(completions, prompts)):
                found = select_pair(answers, by_id, session.config.pairs, seed)
                if isinstance(found, str):
                    dropped[found] += 1
                else:
                    yield asdict(found)

        kept = write_rows(folder / "pairs.parquet", rows(), PAIRS)
        return Made(kept + dropped.total(), kept, dict(sorted(dropped.items())))

    inputs = {"completions": completions.hash("completions.parquet")}
    if scores is not None:
        inputs["scores"] = scores.hash("scores.parquet")
    weights = {m.source: m.weight for m in machines(session.config.judge) if scores is not None}
    config = {**session.config.pairs.model_dump(mode="json"), "seed": seed, "weights": weights}
    return session.step(number, "pairs", make, config=config, inputs=inputs)
