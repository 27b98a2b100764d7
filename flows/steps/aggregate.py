"""Step `preferences`: what the judgements and labels of each pair amount to."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.hashing import digest
from dpo_core.schemas import PREFERENCES
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.round_state import OWN_SAMPLES, PreferenceSources, RoundRecord
from flows.read_records import find_retracted, read_reliability
from flows.session import Session
from flows.steps.labels import find_left_out
from labeling.aggregation.agreement import Rate, round_agreement
from labeling.aggregation.annotators import Annotator, annotators
from labeling.aggregation.drift import Measured, drifts, measured
from labeling.aggregation.preferences import (
    Aggregate,
    Aggregation,
    ComparedPair,
    aggregate,
    without_winners,
)
from labeling.aggregation.votes import Ballots, gather_votes
from labeling.judges.config import members
from labeling.pairs.delta import NOT_WORSE

Rows = Sequence[Mapping[str, Any]]


def aggregate_preferences(
    session: Session,
    number: int,
    said: PreferenceSources,
    earlier: Sequence[RoundRecord] = (),
    retracted: Collection[str] = (),
) -> Artifact:
    """One preference per decided pair; undecided pairs are counted by reason.

    Judgements that are not reliable by the calibration do not vote, and a pair that nobody else
    votes on is dropped. earlier: rounds that drift is measured against. retracted: sources whose
    judgements and labels of this round were taken back. Facts: how the round was aggregated
    (`method`, `targets`), and `agreement`, `annotators` and `drift` as the dataclasses of
    labeling.aggregation name them.
    """
    config = session.config.aggregation
    weights = {member.source: member.weight for member in members(session.config.judge)}
    before = [found for played in earlier if (found := _measured(played.made.get("preferences")))]
    gone = find_retracted(retracted, said.judgements, said.labels)
    unanswered = find_left_out(said.labels)
    rejecting = session.config.pairs.truncated == "reject"
    own_samples = said.own_samples

    def make(folder: Path, inputs: Inputs) -> StepResult:
        answers = _read_labels(inputs.find("labels"))
        ballots = gather_votes(
            _read(inputs.path("judgements"), unanswered),
            answers,
            weights,
            retracted=gone,
            unreliable=_unreliable(inputs.find("reliability")),
        )
        compared = [ComparedPair(**row) for row in _read_pairs(inputs.path("pairs"))]
        takes_soft = session.config.takes_soft_labels
        found = aggregate(compared, ballots, config, takes_soft=takes_soft)
        if rejecting:
            cut = _cut(inputs.path("completions"))
            found = without_winners(found, compared, cut, "truncated")
        if own_samples is not None:
            others = _of_another(inputs.path("completions"), own_samples)
            found = without_winners(found, compared, others, NOT_WORSE)
        rows = _rows(compared, ballots, found)
        kept = write_rows(folder / "preferences.parquet", rows, PREFERENCES)
        dropped = Counter(why for why in found.by_pair.values() if isinstance(why, str))
        people = annotators(answers, retracted=gone)
        facts = _facts(found, ballots, people, before, config.drift_alarm)
        facts["retracted"] = gone
        return StepResult(len(compared), kept, dict(sorted(dropped.items())), facts=facts)

    inputs = _inputs(said, answers_matter=rejecting or own_samples is not None)
    if before:
        inputs["measured"] = Input(_digest(before))
    recipe = {
        **config.model_dump(mode="json"),
        "weights": weights,
        "takes_soft": session.config.takes_soft_labels,
        **({"retracted": gone} if gone else {}),
        **({"left_out": unanswered} if unanswered else {}),
        **({"truncated": "reject"} if rejecting else {}),
        **({OWN_SAMPLES: own_samples} if own_samples is not None else {}),
    }
    return session.step(number, "preferences", make, config=recipe, inputs=inputs)


def _inputs(said: PreferenceSources, *, answers_matter: bool) -> dict[str, Input]:
    """answers_matter: which of them were cut, or are another's."""
    named = {
        "pairs": said.pairs,
        "judgements": said.judgements,
        "labels": said.labels,
        "reliability": said.calibration,
        "completions": said.completions if answers_matter else None,
    }
    files = {name: made for name, made in named.items() if made is not None}
    return {name: made.input(f"{name}.parquet") for name, made in files.items()}


def _rows(
    pairs: Sequence[ComparedPair], ballots: Ballots, found: Aggregation
) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        preference = found.by_pair[pair.pair_id]
        if isinstance(preference, Aggregate):
            chosen, rejected = (pair.a, pair.b) if preference.better == "a" else (pair.b, pair.a)
            yield {
                "pair_id": pair.pair_id,
                "prompt_id": pair.prompt_id,
                "chosen": chosen,
                "rejected": rejected,
                "p_chosen": preference.p_chosen,
                "sources": [vote.source for vote in ballots[pair.pair_id].votes],
                "agreement": preference.agreement,
            }


def _facts(
    found: Aggregation,
    ballots: Ballots,
    people: Mapping[str, Annotator],
    before: Sequence[Measured],
    drift_alarm: float,
) -> dict[str, Any]:
    """How it was aggregated, and what that says of the sources, now and against earlier rounds."""
    agreements = [p.agreement for p in found.by_pair.values() if isinstance(p, Aggregate)]
    agreement = round_agreement(ballots, agreements)
    now = measured(agreement.with_others, {name: one.gold for name, one in people.items()})
    return {
        "method": found.method,
        "targets": found.targets,
        "agreement": asdict(agreement),
        "annotators": {name: asdict(one) for name, one in people.items()},
        "drift": [asdict(one) for one in drifts(before, now, drift_alarm)],
    }


def _read_pairs(pairs: Path) -> Iterator[dict[str, Any]]:
    return iterate_rows(pairs, ["pair_id", "prompt_id", "a", "b"])


def _read(judgements: Path, without: Collection[str] = ()) -> Rows:
    rows, left_out = read_rows(judgements, ["pair_id", "source", "verdict"]), set(without)
    return [row for row in rows if row["pair_id"] not in left_out]


def _cut(completions: Path) -> set[str]:
    """Ids of the answers that were cut at the length limit."""
    rows = iterate_rows(completions, ["completion_id", "finish_reason"])
    return {row["completion_id"] for row in rows if row["finish_reason"] != "stop"}


def _of_another(completions: Path, own_samples: int) -> set[str]:
    """Ids of the answers that are not the policy's."""
    rows = iterate_rows(completions, ["completion_id", "sample_index"])
    return {row["completion_id"] for row in rows if row["sample_index"] >= own_samples}


def _read_labels(labels: Path | None) -> Rows:
    return read_rows(labels) if labels is not None else []


def _unreliable(reliability: Path | None) -> set[tuple[str, str]]:
    found = read_reliability(reliability)
    return {(one.source, one.pair_id) for one in found if not one.reliable}


def _measured(preferences: Artifact | None) -> Measured:
    """What an earlier round measured of its sources; nothing, if it was of an older version."""
    facts = preferences.entry.facts if preferences is not None else {}
    with_others = facts.get("agreement", {}).get("with_others", {})
    gold = {name: found["gold"] for name, found in facts.get("annotators", {}).items()}
    return measured(
        {source: Rate(**rate) for source, rate in with_others.items()},
        {name: Rate(**rate) for name, rate in gold.items()},
    )


def _digest(rounds: Sequence[Measured]) -> str:
    return digest([[[s, m, asdict(r)] for s, f in e.items() for m, r in f.items()] for e in rounds])
