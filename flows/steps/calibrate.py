"""Step `calibration`: how reliable judgements are, by people's answers of earlier rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import RELIABILITY
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.policy import Played
from flows.read_back.completions import read_scores_by_source
from flows.session import Session
from labeling.aggregation.calibration import (
    Judged,
    Shared,
    fit,
    reliabilities,
    shared_with_people,
    unreliable_pairs,
)

Steps = Mapping[str, Artifact | None]

_READ = ("pairs", "judgements", "scores", "labels")


def calibrate(
    session: Session,
    number: int,
    pairs: Artifact,
    judgements: Artifact,
    scores: Artifact | None,
    earlier: Sequence[Played],
) -> Artifact | None:
    """calibration.json: each judge's fit; reliability.parquet: of each judgement of this round.

    None without `aggregation.calibrate`, and before people have answered in an earlier round.
    Labels and judgements that were taken back teach nothing.
    """
    config = session.config.aggregation
    taught = [played.made for played in earlier if played.made.get("labels") is not None]
    if not config.calibrate or not taught:
        return None
    now: Steps = {"pairs": pairs, "judgements": judgements, "scores": scores}

    def make(folder: Path) -> Made:
        fitted = fit(shared for steps in taught for shared in _shared(steps))
        found = reliabilities(fitted, _judged(now), config.reliable_at)
        write_json(folder / "calibration.json", {s: asdict(one) for s, one in fitted.items()})
        write_rows(folder / "reliability.parquet", map(asdict, found), RELIABILITY)
        told = {s: {k: v for k, v in asdict(f).items() if k != "curve"} for s, f in fitted.items()}
        facts = {
            "calibration": told,
            "unreliable": sum(not one.reliable for one in found),
            "unreliable_pairs": len(unreliable_pairs(found)),
        }
        return Made(len(found), len(found), facts=facts)

    inputs = _hashes(now, "")
    for steps in taught:
        inputs |= _hashes(steps, f"-{_round(steps):02d}")
    gone = {str(_round(steps)): taken for steps in taught if (taken := _retracted(steps))}
    recipe: dict[str, Any] = {"reliable_at": config.reliable_at}
    if gone:
        recipe["retracted"] = gone
    return session.step(number, "calibration", make, config=recipe, inputs=inputs)


def _shared(steps: Steps) -> list[Shared]:
    labels = steps["labels"]
    assert labels is not None, "only rounds with labels teach"
    rows = read_rows(labels.path("labels.parquet"))
    return shared_with_people(_judged(steps), rows, _retracted(steps))


def _judged(steps: Steps) -> Iterator[Judged]:
    """The judgements of a round, with the margins of the judges that score."""
    pairs, judgements, scores = (steps.get(name) for name in _READ[:3])
    if pairs is None or judgements is None:  # of imported preferences
        return
    rows = iterate_rows(pairs.path("pairs.parquet"), ["pair_id", "a", "b"])
    sides = {row["pair_id"]: (row["a"], row["b"]) for row in rows}
    scored = read_scores_by_source(scores) if scores is not None else {}
    columns = ["pair_id", "source", "verdict", "confidence"]
    for row in iterate_rows(judgements.path("judgements.parquet"), columns):
        own = scored.get(row["source"], {})
        a, b = (own.get(side) for side in sides[row["pair_id"]])
        yield Judged(**row, margin=None if a is None or b is None else abs(a - b))


def _retracted(steps: Steps) -> list[str]:
    """What the round's aggregation left out, as taken back."""
    preferences = steps.get("preferences")
    return list(preferences.entry.facts.get("retracted", ())) if preferences is not None else []


def _round(steps: Steps) -> int:
    return next(artifact.entry.round for artifact in steps.values() if artifact is not None)


def _hashes(steps: Steps, suffix: str) -> dict[str, str]:
    return {
        f"{name}{suffix}": artifact.hash(f"{name}.parquet")
        for name in _READ
        if (artifact := steps.get(name)) is not None
    }
