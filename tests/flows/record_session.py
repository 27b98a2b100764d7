"""A real session on records written by hand, of rounds that nobody sampled."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.store import Recipe
from dpo_core.schemas import ASKED, JUDGEMENTS, LABELS, PAIRS, SCORES
from dpo_core.tables import write_rows
from flows.config import CampaignConfig
from flows.session import Session
from reporting.progress import CampaignProgress

COMMITTEE = {
    "kind": "committee",
    "members": [
        {"kind": "llm", "model": "m", "id": "llm"},
        {"function": "my:rule", "gives": "verdict", "id": "rule"},
        {"kind": "human"},
    ],
}


def open_session(root: Path, **sections: Any) -> Session:
    raw = {
        "name": "records",
        "threads": 1,
        "policy": {"model": "nobody/loads-it"},
        "prompts": {"function": "my:prompts"},
        "judge": COMMITTEE,
        "evaluation_judge": {"function": "my:rule"},
        "pairs": {"strategy": "random"},
        **sections,
    }
    config = CampaignConfig.model_validate(raw)
    return Session.open(root, config, CampaignProgress(Console(quiet=True), config.rounds))


class Records:
    """Artifacts of rounds, as the steps before would have made them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def write(
        self,
        number: int,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        schema: pa.Schema,
        **beside: tuple[Iterable[Mapping[str, Any]], pa.Schema],
    ) -> Artifact:
        """A step's file of its name, and others `beside` it."""
        kept = list(_filled(rows, schema))

        def make(folder: Path) -> StepResult:
            for other, (its_rows, its_schema) in beside.items():
                write_rows(folder / f"{other}.parquet", _filled(its_rows, its_schema), its_schema)
            return StepResult(len(kept), write_rows(folder / f"{name}.parquet", kept, schema))

        return self.session.store.run(Recipe(number, name, {"rows": repr(kept)}), make)

    def pairs(self, number: int, ids: Iterable[str]) -> Artifact:
        """Pair "x" of prompt "x" with the completions "xa" and "xb"."""
        rows = ({"pair_id": i, "prompt_id": i, "a": f"{i}a", "b": f"{i}b"} for i in ids)
        return self.write(number, "pairs", rows, PAIRS)

    def judgements(self, number: int, rows: Iterable[Mapping[str, Any]]) -> Artifact:
        return self.write(number, "judgements", rows, JUDGEMENTS)

    def scores(self, number: int, rows: Iterable[Mapping[str, Any]]) -> Artifact:
        return self.write(number, "scores", rows, SCORES)

    def labels(self, number: int, rows: Iterable[Mapping[str, Any]]) -> Artifact:
        """What people said; nobody left out a pair that they were asked about."""
        at, said = datetime(2026, 1, 1, tzinfo=UTC), list(rows)
        filled = ({"kind": "pair", "at": at, "label_id": str(n), **r} for n, r in enumerate(said))
        asked = [{"pair_id": pair, "left_out": False} for pair in {row["pair_id"] for row in said}]
        return self.write(number, "labels", filled, LABELS, asked=(asked, ASKED))


def _filled(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[dict[str, Any]]:
    return ({**dict.fromkeys(schema.names), **row} for row in rows)


def judged(source: str, pair_id: str, verdict: str | None, **more: Any) -> dict[str, Any]:
    return {"source": source, "pair_id": pair_id, "verdict": verdict, **more}


def labelled(annotator: str, pair_id: str, verdict: str | None, **more: Any) -> dict[str, Any]:
    return {"annotator": annotator, "pair_id": pair_id, "verdict": verdict, **more}
