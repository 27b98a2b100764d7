"""`ratchet labels retract`: two judges, one of them taken back, and what runs again for it."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from record_session import Records, open_session
from record_session import judged as judgement
from rich.console import Console
from small_campaign import CONFIG, JUDGE, STEPS, Campaign

from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.branching import Origin, Stretch, write_origin
from dpo_core.campaign.gate_record import GateFacts, GateRecord
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import Layout
from dpo_core.schemas import LABELS
from dpo_core.tables import write_rows
from flows.config import config_of_attempt, validate
from flows.operations.retract import SourceUse, _aggregate, _session_as_run
from flows.read_records import count_by_source, find_all_sources, find_retracted
from flows.round_state import PreferenceSources
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences
from reporting.progress import CampaignProgress

OTHER = """

def other(completions):
    '''Of another opinion than the first on about every second pair.'''
    return [float(sum(map(ord, c.text)) % 97) for c in completions]
"""
COMMITTEE = json.dumps(
    {
        "kind": "committee",
        "members": [
            {"function": "small_judge:score", "id": "short"},
            {"function": "small_judge:other", "id": "other"},
        ],
    }
)
RUN = ("--set", f"judge={COMMITTEE}")
TRAINED_ON = list(STEPS[STEPS.index("audit") :])


@pytest.fixture(scope="module")
def judged(finished: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The small campaign, judged by two."""
    campaign = finished.copied(tmp_path_factory.mktemp("committee") / "copy")
    (campaign.folder / "small_judge.py").write_text(JUDGE + OTHER, encoding="utf-8")
    done = campaign.run(*RUN)
    assert done.returncode == 0, done.stderr + done.stdout
    return campaign


def steps_since(campaign: Campaign, before: int) -> list[tuple[int, str]]:
    return [(entry.round, entry.step) for entry in campaign.entries()[before:]]


def valid(campaign: Campaign) -> dict[tuple[int, str], str]:
    return {
        (number, step): campaign.artifact(number, step).entry.fingerprint
        for number in (1, 2)
        for step in STEPS
    }


def counts(campaign: Campaign, number: int) -> dict[str, int]:
    entry = campaign.artifact(number, "preferences").entry
    return {"kept": entry.kept, **entry.dropped}


def rows(campaign: Campaign, number: int, step: str) -> list[dict[str, Any]]:
    return pq.read_table(campaign.artifact(number, step).path(f"{step}.parquet")).to_pylist()


def preferred(campaign: Campaign, number: int) -> dict[str, tuple[str, float]]:
    return {
        row["pair_id"]: (row["chosen"], row["p_chosen"])
        for row in rows(campaign, number, "preferences")
    }


def told(old: dict[str, tuple[str, float]], new: dict[str, tuple[str, float]]) -> str:
    both = old.keys() & new.keys()
    flipped = sum(old[pair][0] != new[pair][0] for pair in both)
    same = sum(old[pair] == new[pair] for pair in both)
    return (
        f"preferences: {flipped} flipped, {len(both) - flipped - same} reweighed, "
        f"{len(old) - len(both)} vanished, {len(new) - len(both)} new, {same} as before"
    )


def test_only_what_depends_on_the_source_runs_again_and_undo_costs_nothing(
    judged: Campaign,
) -> None:
    before, both = valid(judged), preferred(judged, 2)
    entries = len(judged.entries())
    done = judged.ratchet("labels", "retract", "campaign", "--judge", "other", "--round", "2")
    assert done.returncode == 0, done.stderr
    # Alone, the first judge decides.
    sides = {row["pair_id"]: row for row in rows(judged, 2, "pairs")}
    alone = {
        row["pair_id"]: sides[row["pair_id"]][row["verdict"]]
        for row in rows(judged, 2, "judgements")
        if row["source"] == "short" and row["verdict"] in ("a", "b")
    }
    one = preferred(judged, 2)
    assert {pair: chosen for pair, (chosen, _) in one.items()} == alone
    assert one != both, "the other judge had its say before"
    assert f"round 2: {len(sides)} judgements of {len(sides)} pairs" in done.stdout
    assert told(both, one) in done.stdout
    assert "`ratchet run CONFIG` runs round 2 again from its training on" in done.stdout
    assert steps_since(judged, entries) == [(2, "retract"), (2, "preferences")]
    entry = judged.entries()[entries]
    assert {**entry.facts, "by": None} == {"source": "other", "round": 2, "undo": False, "by": None}
    assert "@" in entry.facts["by"] and entry.at

    entries = len(judged.entries())
    done = judged.run(*RUN)
    assert done.returncode == 0, done.stderr
    assert steps_since(judged, entries) == [(2, step) for step in TRAINED_ON]
    after = valid(judged)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {(2, step) for step in ("preferences", *TRAINED_ON)}

    entries = len(judged.entries())
    done = judged.ratchet("labels", "retract", "campaign", "--judge", "other", "--undo")
    assert done.returncode == 0, done.stderr
    assert told(one, both) in done.stdout
    assert judged.run(*RUN).returncode == 0
    assert steps_since(judged, entries) == [(0, "retract")], "all of it was on disk"
    assert valid(judged) == before


def test_taking_back_everything_says_what_will_happen(judged: Campaign, tmp_path: Path) -> None:
    campaign = judged.copied(tmp_path / "copy")
    for judge in ("other", "short"):
        done = campaign.ratchet("labels", "retract", "campaign", "--judge", judge)
        assert done.returncode == 0, done.stderr
    assert "no preference is left to train round 1 on: `ratchet run` will stop there" in done.stdout
    pairs = campaign.artifact(1, "pairs").entry.kept
    assert counts(campaign, 1) == {"kept": 0, "retracted": pairs}
    (campaign.folder / "small_judge.py").write_text(JUDGE + OTHER, encoding="utf-8")
    stopped = campaign.run(*RUN)
    assert stopped.returncode == 1 and f"dropped: {pairs} of {pairs} pairs" in stopped.stderr
    assert f"{pairs} retracted" in stopped.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--judge", "nobody"], "Annotators: none. Judges: other, rule:small_judge:score, short."),
        (["--annotator", "anna"], "human:anna judged nothing"),
        (["--judge", "other", "--round", "9"], "round 9 has no judgements by other"),
        (["--judge", "short", "--undo"], "never retracted"),
        ([], "exactly one of --annotator and --judge"),
        (["--judge", "other", "--annotator", "anna"], "exactly one of --annotator and --judge"),
    ],
)
def test_what_cannot_be_taken_back(judged: Campaign, arguments: list[str], said: str) -> None:
    ledger = judged.layout.ledger.read_bytes()
    done = judged.ratchet("labels", "retract", "campaign", *arguments)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert judged.layout.ledger.read_bytes() == ledger


def test_a_folder_without_a_campaign(judged: Campaign) -> None:
    done = judged.ratchet("labels", "retract", "nowhere", "--judge", "other")
    assert done.returncode == 2 and "nowhere is not a campaign" in done.stderr
    assert not Layout(judged.folder / "nowhere").root.exists()


def aggregated_anew(session: Session, records: Records, made: Session) -> tuple[bool, bool]:
    """Whether preferences that were made under another config are found again by retract, and
    whether under the session's own config they would be."""
    pairs = records.pairs(1, "xyz")
    judged = records.judgements(1, [judgement("llm", i, "a") for i in "xyz"])
    before = aggregate_preferences(made, 1, PreferenceSources(pairs, judged))
    use = SourceUse(1, 3, PreferenceSources(pairs, judged), before)
    change, after = _aggregate(session, use)
    own = aggregate_preferences(session, 1, use.sources)
    return after.entry == before.entry and not change.any, own.entry == before.entry


def test_a_branch_aggregates_shared_rounds_under_their_own_config(tmp_path: Path) -> None:
    with open_session(tmp_path, aggregation={"targets": "hard"}) as session:
        parent = open_session(tmp_path, aggregation={"targets": "soft"}).config
        stretch = Stretch(1, parent.model_dump(mode="json"))
        origin = Origin("parent", "parent", 1, (), "ada", "2026", (stretch,))
        write_origin(session.layout, origin)
        found = aggregated_anew(session, Records(session), session.with_config(parent))
    assert found == (True, False)


def test_an_attempt_is_aggregated_under_its_changes(tmp_path: Path) -> None:
    changes = {"changes": [{"aggregation.targets": "hard"}]}
    gate = {"otherwise": "retry", "retry": changes}
    with open_session(tmp_path, gate=gate) as session:
        made = StepResult(facts=GateFacts(gate=GateRecord(attempt=2)))
        changed = session.with_config(config_of_attempt(session.config, 2))
        records = Records(session)
        aggregated_anew(session, records, changed)  # what stands before the gate
        session.step(1, "gate", lambda folder, _: made, config={})
        assert session.store.layout.current.exists()
        use_config = _session_as_run(session, 1).config
    assert use_config.aggregation.targets == "hard" != session.config.aggregation.targets


def test_people_are_sources_by_their_name(tmp_path: Path) -> None:
    def make(folder: Path, _: Inputs) -> StepResult:
        nothing = dict.fromkeys(LABELS.names)
        labels = [{**nothing, "annotator": name} for name in ("anna", "bert", "anna")]
        return StepResult(3, write_rows(folder / "labels.parquet", labels, LABELS))

    config = validate({**CONFIG, "prompts": {"path": "prompts.jsonl"}}, "test")
    session = Session.open(tmp_path, config, CampaignProgress(Console(quiet=True), rounds=2))
    labels = session.step(1, "labels", make, config={})
    assert count_by_source(labels, None) == {"human:anna": 2, "human:bert": 1}
    assert find_all_sources(session.store) == {"human:anna", "human:bert"}
    assert find_retracted([], labels) == []
    assert find_retracted(["human:anna", "human:carl"], labels, None) == ["human:anna"]
