"""A judge that is sometimes unsure, over two rounds: what it is reliable on, and who is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from record_session import Records, judged, labelled, open_session

from dpo_core.campaign.artifacts import Artifact
from dpo_core.errors import RatchetError
from dpo_core.records import Prompt, prompt_row
from dpo_core.schemas import COMPLETIONS, PROMPTS
from dpo_core.tables import read_rows
from flows.read_records import read_reliability
from flows.round_state import PreferenceSources, RoundRecord
from flows.session import Session
from flows.steps import labels as labels_step
from flows.steps.aggregate import aggregate_preferences
from flows.steps.calibrate import calibrate
from labeling.aggregation.calibration import unreliable_pairs
from labeling.pairs.for_people import (
    UNRELIABLE,
    LabelPlan,
    PairCandidate,
    SelectedForPeople,
    choose_for_people,
)

JUDGE = {"kind": "committee", "members": [{"kind": "llm", "model": "m", "id": "llm"}]}
JUDGE["members"].append({"kind": "human"})  # type: ignore[attr-defined]
SURE, UNSURE = 0.95, 0.6


@pytest.fixture
def session(tmp_path: Path) -> Any:
    people = {"server_dir": str(tmp_path / "no-server")}
    config = {"judge": JUDGE, "people": people, "aggregation": {"calibrate": True}}
    with open_session(tmp_path, **config) as opened:
        yield opened


def first_round(session: Session, *, retracted: tuple[str, ...] = ()) -> RoundRecord:
    """Forty pairs: where the judge is sure people agree with it, elsewhere every other time."""
    records, ids = Records(session), [f"1-{i}" for i in range(40)]
    said = [judged("llm", x, "a", confidence=(SURE, UNSURE)[i % 2]) for i, x in enumerate(ids)]
    people = [labelled("ann", x, "b" if i % 4 == 1 else "a") for i, x in enumerate(ids)]
    pairs, judgements = records.pairs(1, ids), records.judgements(1, said)
    labels = records.labels(1, people)
    of = PreferenceSources(pairs, judgements, labels)
    preferences = aggregate_preferences(session, 1, of, retracted=list(retracted))
    made = {"pairs": pairs, "judgements": judgements, "labels": labels}
    return RoundRecord({**made, "preferences": preferences}, None)


def second_round(session: Session) -> tuple[Artifact, Artifact]:
    records = Records(session)
    said = [judged("llm", "sure", "a", confidence=SURE)]
    said += [judged("llm", f"unsure-{i}", "a", confidence=UNSURE) for i in range(2)]
    said += [judged("llm", "silent", None)]
    ids = ["sure", "unsure-0", "unsure-1", "silent"]
    return records.pairs(2, ids), records.judgements(2, said)


def test_people_are_asked_where_the_judge_is_not_reliable(session: Session) -> None:
    pairs, judgements = second_round(session)
    found = calibrate(session, 2, pairs, judgements, None, [first_round(session)])
    assert found is not None
    reliability = {one.pair_id: one for one in read_reliability(found.path("reliability.parquet"))}
    assert reliability["sure"].reliable and not reliability["unsure-0"].reliable
    probability = reliability["unsure-0"].probability
    assert probability is not None and 0.4 < probability < 0.65  # half of them were right
    told = found.entry.facts["calibration"]["llm"]
    assert (told["n"], told["right"], told["method"]) == (40, 30, "platt")
    assert found.path("calibration.json").exists()

    distrusted = unreliable_pairs(read_reliability(found.path("reliability.parquet")))
    assert distrusted == {"unsure-0", "unsure-1", "silent"}
    plan = LabelPlan(pairs=2, seed=1, unreliable=distrusted)
    candidates = [PairCandidate(i, margin=0.0 if i == "sure" else 9.0) for i in reliability]
    chosen = choose_for_people(candidates, plan)
    assert {c.why for c in chosen} == {UNRELIABLE} and {c.pair_id for c in chosen} < distrusted

    # People answer one of the two; the judge's own verdict counts only where it is reliable.
    labels = Records(session).labels(2, [labelled("ann", "unsure-0", "b")])
    made = aggregate_preferences(session, 2, PreferenceSources(pairs, judgements, labels, found))
    rows = {r["pair_id"]: r for r in read_rows(made.path("preferences.parquet"))}
    assert rows["unsure-0"]["chosen"] == "unsure-0b"
    assert rows["unsure-0"]["sources"] == ["human:ann"]
    assert rows["sure"]["sources"] == ["llm"]
    assert made.entry.dropped == {"judge_unreliable": 1, "unreadable": 1}


def test_the_plan_for_people_follows_the_calibration(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the server, which is not there: nobody named one."""
    pairs, judgements = second_round(session)
    found = calibrate(session, 2, pairs, judgements, None, [first_round(session)])
    ids = [row["pair_id"] for row in read_rows(pairs.path("pairs.parquet"))]
    prompts = [Prompt(pair_id, text=pair_id) for pair_id in ids]
    records = Records(session)
    asked_of = records.write(2, "prompts", map(prompt_row, prompts), PROMPTS)
    answers = [answer(pair_id, side) for pair_id in ids for side in "ab"]
    completions = records.write(2, "completions", answers, COMPLETIONS)
    plans: list[LabelPlan] = []

    def watched(candidates: Sequence[PairCandidate], plan: LabelPlan) -> list[SelectedForPeople]:
        plans.append(plan)
        return choose_for_people(candidates, plan)

    monkeypatch.setattr(labels_step, "choose_for_people", watched)
    for variable in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(RatchetError, match=r"Argilla|server"):
        labels_step.ask_people(session, 2, pairs, judgements, completions, asked_of, found)
    assert [plan.unreliable for plan in plans] == [{"unsure-0", "unsure-1", "silent"}]


def answer(pair_id: str, side: str) -> dict[str, Any]:
    return {
        "completion_id": pair_id + side,
        "prompt_id": pair_id,
        "text": side,
        "prompt_token_ids": [1],
        "token_ids": [2],
        "finish_reason": "stop",
    }


def test_answers_that_were_taken_back_teach_nothing(session: Session) -> None:
    pairs, judgements = second_round(session)
    before = calibrate(session, 2, pairs, judgements, None, [first_round(session)])
    played = first_round(session, retracted=("human:ann",))
    after = calibrate(session, 2, pairs, judgements, None, [played])
    assert before is not None and after is not None
    assert after.entry.facts["calibration"] == {}
    assert unreliable_pairs(read_reliability(after.path("reliability.parquet"))) == {"silent"}
    again = calibrate(session, 2, pairs, judgements, None, [played])
    assert again is not None and again.cached


def test_scores_give_the_margin(session: Session) -> None:
    """As above with scores instead of confidences: far apart where the judge is right."""
    records, played = Records(session), first_round(session)
    ids = [f"1-{i}" for i in range(40)]
    said = records.judgements(1, [judged("llm", x, "a") for x in ids])
    scores = records.scores(1, score_rows((x, (4.0, 0.1)[i % 2]) for i, x in enumerate(ids)))
    earlier = RoundRecord({**played.steps, "judgements": said, "scores": scores}, None)
    pairs = records.pairs(2, ["far", "near"])
    judgements = records.judgements(2, [judged("llm", "far", "a"), judged("llm", "near", "a")])
    scored = records.scores(2, score_rows([("far", 4.0), ("near", 0.1)]))
    found = calibrate(session, 2, pairs, judgements, scored, [earlier])
    assert found is not None and found.entry.facts["calibration"]["llm"]["signal"] == "margin"
    assert {
        one.pair_id: one.reliable for one in read_reliability(found.path("reliability.parquet"))
    } == {
        "far": True,
        "near": False,
    }


def score_rows(margins: Any) -> list[dict[str, Any]]:
    return [
        {"completion_id": f"{pair}{side}", "source": "llm", "score": score}
        for pair, margin in margins
        for side, score in (("a", margin), ("b", 0.0))
    ]


def test_nothing_is_fitted_before_people_answered_or_without_being_asked(tmp_path: Path) -> None:
    with open_session(tmp_path / "off", judge=JUDGE) as session:
        pairs, judgements = second_round(session)
        assert calibrate(session, 2, pairs, judgements, None, [first_round(session)]) is None
    with open_session(tmp_path / "on", judge=JUDGE, aggregation={"calibrate": True}) as session:
        pairs, judgements = second_round(session)
        without = RoundRecord({"pairs": pairs, "judgements": judgements, "labels": None}, None)
        assert calibrate(session, 2, pairs, judgements, None, [without]) is None
