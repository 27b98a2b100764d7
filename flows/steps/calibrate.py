"""Step `calibration`: how reliable judgements are, by people's answers of earlier rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.schemas import RELIABILITY
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.round_state import RoundRecord
from flows.read_records import read_scores_by_source
from flows.session import Session
from labeling.aggregation.calibration import (
    CalibrationVerdict,
    SharedJudgement,
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
    earlier: Sequence[RoundRecord],
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
    gone = {_round(steps): taken for steps in taught if (taken := _retracted(steps))}
    rounds = [_round(steps) for steps in taught]

    def make(folder: Path, inputs: Inputs) -> StepResult:
        fitted = fit(s for n in rounds for s in _shared(inputs, f"-{n:02d}", gone.get(n, [])))
        found = reliabilities(fitted, _judged(inputs, ""), config.reliable_at)
        write_json(folder / "calibration.json", {s: asdict(one) for s, one in fitted.items()})
        write_rows(folder / "reliability.parquet", map(asdict, found), RELIABILITY)
        told = {s: {k: v for k, v in asdict(f).items() if k != "curve"} for s, f in fitted.items()}
        facts = {
            "calibration": told,
            "unreliable": sum(not one.reliable for one in found),
            "unreliable_pairs": len(unreliable_pairs(found)),
        }
        return StepResult(len(found), len(found), facts=facts)

    inputs = _inputs(now, "")
    for steps in taught:
        inputs |= _inputs(steps, f"-{_round(steps):02d}")
    recipe: dict[str, Any] = {"reliable_at": config.reliable_at}
    if gone:
        recipe["retracted"] = {str(number): taken for number, taken in gone.items()}
    return session.step(number, "calibration", make, config=recipe, inputs=inputs)


def _shared(inputs: Inputs, suffix: str, retracted: Sequence[str]) -> list[SharedJudgement]:
    rows = read_rows(inputs.path(f"labels{suffix}"))
    return shared_with_people(_judged(inputs, suffix), rows, retracted)


def _judged(inputs: Inputs, suffix: str) -> Iterator[CalibrationVerdict]:
    """The judgements of a round, with the margins of the judges that score."""
    pairs, judgements, scores = (inputs.find(f"{name}{suffix}") for name in _READ[:3])
    if pairs is None or judgements is None:  # of imported preferences
        return
    rows = iterate_rows(pairs, ["pair_id", "a", "b"])
    sides = {row["pair_id"]: (row["a"], row["b"]) for row in rows}
    scored = read_scores_by_source(scores) if scores is not None else {}
    columns = ["pair_id", "source", "verdict", "confidence"]
    for row in iterate_rows(judgements, columns):
        own = scored.get(row["source"], {})
        a, b = (own.get(side) for side in sides[row["pair_id"]])
        yield CalibrationVerdict(**row, margin=None if a is None or b is None else abs(a - b))


def _retracted(steps: Steps) -> list[str]:
    """What the round's aggregation left out, as taken back."""
    preferences = steps.get("preferences")
    return list(preferences.entry.facts.get("retracted", ())) if preferences is not None else []


def _round(steps: Steps) -> int:
    return next(artifact.entry.round for artifact in steps.values() if artifact is not None)


def _inputs(steps: Steps, suffix: str) -> dict[str, Input]:
    return {
        f"{name}{suffix}": artifact.input(f"{name}.parquet")
        for name in _READ
        if (artifact := steps.get(name)) is not None
    }
