"""Step `preferences`: aggregate the judgements and labels of each pair."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.hashing import digest
from dpo_core.records import LabelRow
from dpo_core.schemas import PREFERENCES
from dpo_core.tables import iterate_as, iterate_rows, write_rows
from flows.read_records import find_retracted, read_reliability
from flows.round_state import OWN_SAMPLES, PreferenceSources, RoundRecord, parquet_inputs
from flows.session import Session
from flows.steps.labels import find_left_out
from labeling.aggregation.agreement import round_agreement
from labeling.aggregation.annotators import Annotator, measure_annotators
from labeling.aggregation.drift import Measured, detect_drift, drift_measures
from labeling.aggregation.preferences import (
    Aggregate,
    Aggregation,
    ComparedPair,
    aggregate,
    drop_winners,
)
from labeling.aggregation.votes import Ballots, VerdictRow, gather_votes
from labeling.judges.config import members
from labeling.pairs.delta import NOT_WORSE
from labeling.step_facts import PreferencesFacts


def aggregate_preferences(
    session: Session,
    number: int,
    sources: PreferenceSources,
    earlier: Sequence[RoundRecord] = (),
    retracted: Collection[str] = (),
) -> Artifact:
    """One preference per decided pair; undecided pairs are dropped and counted by reason.

    Judgements that calibration finds unreliable do not vote. earlier: rounds that drift is measured
    against. retracted: sources whose judgements and labels of this round do not count.
    """
    config = session.config.aggregation
    weights = {member.source: member.weight for member in members(session.config.judge)}
    before = [m for record in earlier if (m := _read_measured(record.steps.get("preferences")))]
    retractions = find_retracted(retracted, sources.judgements, sources.labels)
    unanswered = find_left_out(sources.labels)
    rejecting = session.config.pairs.truncated == "reject"
    own_samples = sources.own_samples
    takes_soft = session.config.takes_soft_labels

    def make(folder: Path, inputs: Inputs) -> StepResult:
        answers = list(iterate_as(labels, LabelRow)) if (labels := inputs.find("labels")) else []
        ballots = gather_votes(
            _read_judgements(inputs.path("judgements"), unanswered),
            answers,
            weights,
            retracted=retractions,
            unreliable={
                (r.source, r.pair_id)
                for r in read_reliability(inputs.find("reliability"))
                if not r.reliable
            },
        )
        compared = _read_pairs(inputs.path("pairs"))
        result = aggregate(compared, ballots, config, takes_soft=takes_soft)
        if rejecting:
            truncated = _find_truncated(inputs.path("completions"))
            result = drop_winners(result, compared, truncated, "truncated")
        if own_samples is not None:
            others = _find_others(inputs.path("completions"), own_samples)
            result = drop_winners(result, compared, others, NOT_WORSE)
        rows = _rows(compared, ballots, result)
        kept = write_rows(folder / "preferences.parquet", rows, PREFERENCES)
        dropped = Counter(why for why in result.by_pair.values() if isinstance(why, str))
        people = measure_annotators(answers, retracted=retractions)
        facts = _facts(result, ballots, people, before, config.drift_alarm)
        facts = facts.model_copy(update={"retracted": tuple(retractions)})
        return StepResult(len(compared), kept, dict(sorted(dropped.items())), facts=facts)

    inputs = parquet_inputs(
        pairs=sources.pairs,
        judgements=sources.judgements,
        labels=sources.labels,
        reliability=sources.calibration,
        completions=sources.completions if rejecting or own_samples is not None else None,
    )
    if before:
        inputs["measured"] = Input(_digest(before))
    recipe = {
        **config.model_dump(mode="json"),
        "weights": weights,
        "takes_soft": takes_soft,
        **({"retracted": retractions} if retractions else {}),
        **({"left_out": unanswered} if unanswered else {}),
        **({"truncated": "reject"} if rejecting else {}),
        **({OWN_SAMPLES: own_samples} if own_samples is not None else {}),
    }
    return session.step(number, "preferences", make, config=recipe, inputs=inputs)


def _rows(
    pairs: Sequence[ComparedPair], ballots: Ballots, result: Aggregation
) -> Iterator[Mapping[str, object]]:
    for pair in pairs:
        preference = result.by_pair[pair.pair_id]
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
    result: Aggregation,
    ballots: Ballots,
    people: Mapping[str, Annotator],
    before: Sequence[Measured],
    drift_alarm: float,
) -> PreferencesFacts:
    agreements = [p.agreement for p in result.by_pair.values() if isinstance(p, Aggregate)]
    agreement = round_agreement(ballots, agreements)
    now = drift_measures(
        agreement.with_others, {name: person.gold for name, person in people.items()}
    )
    return PreferencesFacts(
        method=result.method,
        targets=result.targets,
        agreement=agreement,
        annotators=dict(people),
        drift=tuple(detect_drift(before, now, drift_alarm)),
    )


def _read_pairs(pairs: Path) -> list[ComparedPair]:
    rows = iterate_rows(pairs, ["pair_id", "prompt_id", "a", "b"])
    return [ComparedPair(**row) for row in rows]


def _read_judgements(judgements: Path, without: Collection[str]) -> Sequence[VerdictRow]:
    rows, left_out = iterate_as(judgements, VerdictRow), set(without)
    return [row for row in rows if row["pair_id"] not in left_out]


def _find_truncated(completions: Path) -> set[str]:
    """Ids of answers cut at the length limit."""
    rows = iterate_rows(completions, ["completion_id", "finish_reason"])
    return {row["completion_id"] for row in rows if row["finish_reason"] != "stop"}


def _find_others(completions: Path, own_samples: int) -> set[str]:
    """Ids of answers that are not the policy's."""
    rows = iterate_rows(completions, ["completion_id", "sample_index"])
    return {row["completion_id"] for row in rows if row["sample_index"] >= own_samples}


def _read_measured(preferences: Artifact | None) -> Measured:
    """What an earlier round measured of its sources; nothing if an older version ran it."""
    facts = preferences.facts(PreferencesFacts) if preferences else PreferencesFacts()
    with_others = facts.agreement.with_others if facts.agreement else {}
    return drift_measures(with_others, {n: each.gold for n, each in facts.annotators.items()})


def _digest(rounds: Sequence[Measured]) -> str:
    return digest([[[s, m, asdict(r)] for s, f in e.items() for m, r in f.items()] for e in rounds])
