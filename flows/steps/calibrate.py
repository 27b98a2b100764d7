"""Step `calibration`: how reliable judgements are, measured against labels of earlier rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.records import LabelRow
from dpo_core.schemas import RELIABILITY
from dpo_core.tables import iterate_as, iterate_rows, write_rows
from flows.read_records import read_scores_by_source
from flows.round_state import RoundRecord, parquet_inputs
from flows.session import Session
from labeling.aggregation.calibration import (
    CalibrationVerdict,
    SharedJudgement,
    assess_reliability,
    fit_reliability,
    join_with_people,
    unreliable_pairs,
)
from labeling.step_facts import CalibrationFacts, PreferencesFacts

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
    """Write each judge's fit (calibration.json) and each judgement's reliability (parquet).

    None without `aggregation.calibrate`, and before an earlier round has labels of people.
    Retracted labels and judgements are ignored.
    """
    config = session.config.aggregation
    labelled = {
        labels.entry.round: record.steps
        for record in earlier
        if (labels := record.steps.get("labels")) is not None
    }
    if not config.calibrate or not labelled:
        return None
    retracted = {n: sources for n, steps in labelled.items() if (sources := _retracted(steps))}

    def make(folder: Path, inputs: Inputs) -> StepResult:
        fits = fit_reliability(
            shared
            for n in labelled
            for shared in _read_shared(inputs, f"-{n:02d}", retracted.get(n, []))
        )
        trusted = assess_reliability(fits, _read_verdicts(inputs, ""), config.reliable_at)
        as_json = {source: asdict(fitted) for source, fitted in fits.items()}
        write_json(folder / "calibration.json", as_json)
        write_rows(folder / "reliability.parquet", map(asdict, trusted), RELIABILITY)
        facts = CalibrationFacts(
            calibration=fits,
            unreliable=sum(not judgement.reliable for judgement in trusted),
            unreliable_pairs=len(unreliable_pairs(trusted)),
        )
        return StepResult(len(trusted), len(trusted), facts=facts)

    inputs = parquet_inputs(pairs=pairs, judgements=judgements, scores=scores)
    for n, steps in labelled.items():
        files = parquet_inputs(**{name: steps.get(name) for name in _READ})
        inputs |= {f"{name}-{n:02d}": file for name, file in files.items()}
    recipe: dict[str, object] = {"reliable_at": config.reliable_at}
    if retracted:
        recipe["retracted"] = {str(n): sources for n, sources in retracted.items()}
    return session.step(number, "calibration", make, config=recipe, inputs=inputs)


def _read_shared(inputs: Inputs, suffix: str, retracted: Sequence[str]) -> list[SharedJudgement]:
    rows = list(iterate_as(inputs.path(f"labels{suffix}"), LabelRow))
    return join_with_people(_read_verdicts(inputs, suffix), rows, retracted)


def _read_verdicts(inputs: Inputs, suffix: str) -> Iterator[CalibrationVerdict]:
    """A round's judgements, with the score margins of judges that score."""
    pairs, judgements, scores = (inputs.find(f"{name}{suffix}") for name in _READ[:3])
    if pairs is None or judgements is None:  # imported preferences
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
    """Sources that the round's aggregation left out as retracted."""
    preferences = steps.get("preferences")
    return list(preferences.facts(PreferencesFacts).retracted) if preferences is not None else []
