"""The step that asks people, on a campaign's own pairs and a real Argilla server."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from rich.console import Console
from small_campaign import CONFIG
from typer.testing import CliRunner

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.waiting import read_waiting, write_waiting
from dpo_core.errors import BadInput, LabelsError, LabelServerFailed, WaitingForPeople
from dpo_core.records import Judgement, judgement_row, prompt_row
from dpo_core.schemas import COMPLETIONS, JUDGEMENTS, PAIRS, PROMPTS
from dpo_core.tables import read_rows, write_rows
from flows.cli import app
from flows.config import CampaignConfig, dump_config, validate
from flows.people import can_resume, find_queue, needs_reading, server_access
from flows.session import Session
from flows.steps.labels import ask_people, find_left_out
from labeling.people import argilla_queue
from labeling.people.argilla_http import IMPATIENT
from labeling.people.config import PeopleConfig
from labeling.people.label_queue import Dataset, QueueCounts
from labeling.people.log import LabelLog, RoundLog
from labeling.people.task import CHOICES
from reporting.progress import CampaignProgress

sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "people"))
from annotators import Annotator, dataset_named, pairs

from tests.resealed import reseal
from tests.shared_argilla import SharedArgilla

COUNT = 12
"""Prompts, each with two completions."""

COMMITTEE = {"kind": "committee", "members": [CONFIG["judge"], {"kind": "human"}]}


_PAIRS = pairs(COUNT)
ROWS: dict[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
    "pairs": (
        PAIRS,
        [
            {
                "pair_id": pair.pair_id,
                "prompt_id": pair.a.prompt.prompt_id,
                "a": pair.a.completion_id,
                "b": pair.b.completion_id,
                "rule": "best_worst",
                "margin": float(number),
            }
            for number, pair in enumerate(_PAIRS)
        ],
    ),
    "judgements": (
        JUDGEMENTS,
        [judgement_row(pair.pair_id, "rule:x", Judgement("a")) for pair in _PAIRS],
    ),
    "completions": (
        COMPLETIONS,
        [
            {
                "completion_id": c.completion_id,
                "prompt_id": c.prompt.prompt_id,
                "sample_index": c.sample_index,
                "text": c.text,
                "token_ids": [1] * c.tokens,
                "token_logps": [-1.0] * c.tokens,
                "finish_reason": "stop",
            }
            for pair in _PAIRS
            for c in (pair.a, pair.b)
        ],
    ),
    "prompts": (PROMPTS, [prompt_row(pair.a.prompt) for pair in _PAIRS]),
}


def _made(session: Session, name: str) -> Artifact:
    schema, rows = ROWS[name]

    def make(folder: Path, _: Inputs) -> StepResult:
        write_rows(folder / f"{name}.parquet", rows, schema)
        return StepResult(len(rows), len(rows))

    return session.step(1, name, make, config={})


class Round:
    """Round 1 of a campaign that has come as far as its judgements."""

    def __init__(self, root: Path, people: dict[str, Any], labels: int = 4) -> None:
        self.layout = Layout(root)
        self.config = self.configured(people, labels)
        root.mkdir()
        self.layout.config.write_text(dump_config(self.config), encoding="utf-8")
        self.released = False
        with self.session() as session:
            self.artifacts = [_made(session, name) for name in ROWS]

    def configured(self, people: dict[str, Any], labels: int) -> CampaignConfig:
        raw = {**CONFIG, "judge": COMMITTEE, "budget": {"human_labels": labels}, "people": people}
        return validate(raw, "test")

    def ask(self) -> Artifact:
        with self.session() as session:
            found = ask_people(session, 1, *self.artifacts)
        assert found is not None
        return found

    def wait(self) -> WaitingForPeople:
        with pytest.raises(WaitingForPeople) as waiting:
            self.ask()
        return waiting.value

    @contextmanager
    def session(self) -> Iterator[Session]:
        with CampaignProgress(Console(quiet=True), 1) as progress:
            session = Session.open(self.layout.root, self.config, progress)
            session.processes._pools["sampling"]._workers[0] = self  # type: ignore[assignment]
            yield session

    def close(self) -> None:
        """What a session does with a sampler that it gives back."""
        self.released = True

    def dataset(self) -> Dataset:
        waiting = read_waiting(self.layout)
        assert waiting is not None
        return dataset_named(server_access(self.config.people_config), waiting.dataset)

    def pull(self, *arguments: str) -> str:
        done = CliRunner().invoke(app, ["labels", "pull", str(self.layout.root), *arguments])
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.output


@pytest.fixture(scope="session")
def someone(argilla: SharedArgilla) -> Annotator:
    return Annotator.new(argilla.access, "someone-of-flows")


@pytest.fixture
def asking(
    argilla: SharedArgilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Round]:
    monkeypatch.setenv("ARGILLA_API_URL", argilla.access.url)
    monkeypatch.setenv("ARGILLA_API_KEY", argilla.access.api_key)
    return lambda labels=4, **people: Round(tmp_path / "campaign", people, labels)


def test_people_are_waited_for_and_then_heard(
    asking: Callable[..., Round], argilla: SharedArgilla, someone: Annotator
) -> None:
    found = asking()
    error = found.wait()
    waiting = read_waiting(found.layout)
    assert waiting is not None
    assert error.exit_code == 75
    assert error.message == waiting.sentence
    assert error.message == (
        f"round 1 waits for labels: 0 of 4 answers received; label at {waiting.url}"
    )
    assert (waiting.round, waiting.needed, waiting.missing, waiting.deadline) == (1, 4, 4, None)
    assert found.released
    assert not can_resume(found.layout, found.config)

    records = someone.queue(found.dataset())
    for record, choice in zip(records[:3], CHOICES, strict=False):
        someone.answer(record, choice)
    assert not can_resume(found.layout, found.config)
    looked_at = read_waiting(found.layout)
    assert looked_at is not None
    assert looked_at.missing == 1  # for those who watch
    someone.answer(records[3], None, status="discarded")
    assert can_resume(found.layout, found.config)

    labels = found.ask()
    assert read_waiting(found.layout) is None
    assert can_resume(found.layout, found.config)
    entry = labels.entry
    assert (entry.came_in, entry.kept, entry.dropped) == (4, 3, {"discarded": 1})
    assert entry.facts["by_annotator"] == {someone.name: 4}
    assert entry.facts["ended_by"] == "quorum"
    write_waiting(found.layout, waiting)  # as when another config asked in between
    assert found.ask().cached
    assert read_waiting(found.layout) is None
    _no_secret(found.layout.root, argilla.access.api_key)


def test_a_label_says_what_was_answered(asking: Callable[..., Round], someone: Annotator) -> None:
    found = asking()
    found.wait()
    chosen: dict[str, str | None] = {}
    for record, choice in zip(someone.queue(found.dataset()), (*CHOICES[:3], None), strict=True):
        someone.answer(record, choice, "submitted" if choice else "discarded")
        chosen[record["external_id"]] = choice
    labels = found.ask()
    rows = read_rows(labels.path("labels.parquet"))
    asked = {row["record_id"] for row in read_rows(labels.path("asked.parquet"))}
    assert {row["record_id"] for row in rows} == asked == set(chosen)
    other = {"a": "b", "b": "a"}
    for row in rows:
        first = row["shown_first"]
        expected = {"A": first, "B": other[first], "Tie": "tie", None: None}
        assert row["verdict"] == expected[chosen[row["record_id"]]]
        assert (row["annotator"], row["mode"], row["kind"]) == (someone.name, "blind", "pair")


def test_late_answers_make_a_new_version(asking: Callable[..., Round], someone: Annotator) -> None:
    found = asking(labels=2)
    found.wait()
    dataset = found.dataset()
    given = [someone.answer(record, "A") for record in someone.queue(dataset)]
    assert found.pull() == "round 1: 2 new answers; the round still waits for labels\n"
    first = found.ask()
    assert found.pull() == "round 1: 0 new answers; its labels do not change\n"
    assert found.ask().entry.fingerprint == first.entry.fingerprint

    someone.edit(given[0], "Both bad")
    assert found.ask().cached  # a round keeps the labels that it was trained on
    assert found.pull("--round", "1") == (
        "round 1: 1 new answer; its labels change\n`ratchet run` runs again what depends on them.\n"
    )
    second = found.ask()
    assert second.entry.fingerprint != first.entry.fingerprint
    assert first.folder.exists()  # nothing is overwritten
    verdicts = {row["label_id"]: row["verdict"] for row in read_rows(second.path("labels.parquet"))}
    assert verdicts[given[0]["id"]] == "both_bad"
    assert len(verdicts) == 2
    assert found.pull().endswith("its labels do not change\n")


def test_pulling_from_rounds_that_asked_nobody(asking: Callable[..., Round]) -> None:
    root = str(asking().layout.root)
    for arguments in ([], ["--round", "2"]):
        done = CliRunner().invoke(app, ["labels", "pull", root, *arguments])
        assert isinstance(done.exception, LabelsError)


def test_a_deadline_after_which_people_are_waited_for_all_the_same(
    asking: Callable[..., Round], someone: Annotator
) -> None:
    found = asking(labels=1, deadline_hours=1e-6, at_deadline="wait")
    assert " waits for labels, beyond 2" in found.wait().message
    assert not can_resume(found.layout, found.config)
    someone.answer(someone.queue(found.dataset())[0], "B")
    assert can_resume(found.layout, found.config)
    assert found.ask().entry.facts["ended_by"] == "quorum"


@pytest.mark.parametrize("fallback", ["use", "judge", "stop"])
def test_at_the_deadline(asking: Callable[..., Round], someone: Annotator, fallback: str) -> None:
    found = asking(labels=3, deadline_hours=100, at_deadline=fallback)
    error = found.wait()
    assert " waits for labels, until 2" in error.message
    assert not can_resume(found.layout, found.config)
    someone.answer(someone.queue(found.dataset())[0], "B")
    over = {"deadline_hours": 1e-6, "at_deadline": fallback}
    found.config = found.configured(over, 3)
    assert can_resume(found.layout, found.config)
    if fallback == "stop":
        with pytest.raises(LabelsError, match="1 of 3 answers received"):
            found.ask()
        return
    labels = found.ask()
    asked = read_rows(labels.path("asked.parquet"))
    assert sorted(row["answers"] for row in asked) == [0, 0, 1]
    unanswered = {row["pair_id"] for row in asked if row["answers"] == 0}
    assert set(find_left_out(labels)) == (unanswered if fallback == "use" else set())
    facts = labels.entry.facts
    assert facts["ended_by"] == f"deadline, {fallback}"
    assert facts["answers_missing"] == 2
    assert labels.entry.dropped == {"unanswered": 2}


def test_gold_and_repeats_are_counted_apart(
    asking: Callable[..., Round], argilla: SharedArgilla, someone: Annotator, tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    row = {"prompt": "A review:", "a": "It is good.", "b": "zzz", "verdict": "a"}
    gold.write_text(json.dumps(row) + "\n", encoding="utf-8")
    found = asking(
        labels=8,
        gold=str(gold),
        gold_share=0.125,
        repeat_share=0.25,
        strength=True,
        show_agreement=True,
    )
    assert "0 of 8 answers received" in found.wait().message
    dataset = found.dataset()
    for record in someone.queue(dataset):
        good = record["fields"]["response_a"] == "It is good."
        known = good or record["fields"]["response_b"] == "It is good."
        someone.answer(record, "A" if good or not known else "B", strength=3)
    entry = found.ask().entry
    assert entry.facts["asked"] == {"gold": 1, "pair": 5, "repeat": 2}
    assert entry.facts["answers"] == {"gold": 1, "pair": 5, "repeat": 2}
    assert (entry.facts["gold_right"], entry.facts["gold_answered"]) == (1, 1)
    told = json.loads((argilla.folder / "agreement" / f"{dataset.id}.json").read_text())
    same = {row["pair_id"]: row["verdict"] for row in rows_of(found, "pair")}
    alike = sum(row["verdict"] == same.get(row["pair_id"]) for row in rows_of(found, "repeat"))
    known = {"gold_right": 1, "gold": 1, "repeats": 2, "repeats_alike": alike}
    assert told == {someone.name: known}
    assert (entry.came_in, entry.kept) == (5, 5)


def rows_of(found: Round, kind: str) -> list[dict[str, Any]]:
    labels = read_rows(found.ask().path("labels.parquet"))
    return [row for row in labels if row["kind"] == kind]


def test_a_round_that_waited_under_an_earlier_version_goes_on(
    asking: Callable[..., Round], argilla: SharedArgilla, someone: Annotator
) -> None:
    """In its dataset, and at the address that later rounds will have too."""
    found = asking(labels=2)
    found.wait()
    log = LabelLog(found.layout.labels(1))
    dataset = found.dataset()
    old = f"{found.config.name}-3fa2c1-round-01"
    call = partial(httpx.patch, headers={"X-Argilla-Api-Key": argilla.access.api_key}, timeout=60)
    about = f"{argilla.access.url}/api/v1/datasets/{dataset.id}"
    assert call(about, json={"name": old, "metadata": None}).is_success

    def earlier(event: dict[str, Any]) -> None:
        if event["event"] == "opened":
            del event["queue"], event["continuation"]
            event["dataset"] = old

    reseal(log.path, earlier)
    assert found.wait().message.endswith(f"/campaign/{found.config.name}-3fa2c1")
    assert found.dataset().id == dataset.id and not log.read().continuation
    assert find_queue(found.layout, found.config.name) == f"{found.config.name}-3fa2c1"
    for record in someone.queue(dataset):
        someone.answer(record, "A")
    assert found.ask().entry.facts["ended_by"] == "quorum"


def test_without_a_server(
    asking: Callable[..., Round], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = asking()
    found.wait()
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")
    assert not can_resume(found.layout, found.config)
    monkeypatch.setattr(argilla_queue, "PATIENT", IMPATIENT)
    with pytest.raises(LabelServerFailed, match="does not answer"):
        found.ask()
    monkeypatch.delenv("ARGILLA_API_URL")
    monkeypatch.delenv("ARGILLA_API_KEY")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="there is no Argilla server in argilla") as never:
        found.ask()
    assert never.value.exit_code == 2
    assert "ratchet label serve" in never.value.remedy
    assert not can_resume(found.layout, found.config)


def test_answers_that_were_seen_are_enough_without_a_server(
    asking: Callable[..., Round], someone: Annotator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = asking(labels=2)
    found.wait()
    for record in someone.queue(found.dataset()):
        someone.answer(record, "Tie")
    assert can_resume(found.layout, found.config)
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(argilla_queue, "PATIENT", IMPATIENT)
    assert found.ask().entry.facts["verdicts"] == {"tie": 2}


def test_what_does_not_decide_the_labels_can_be_changed(
    asking: Callable[..., Round], someone: Annotator
) -> None:
    found = asking(labels=2)
    found.wait()
    someone.answer(someone.queue(found.dataset())[0], "A")
    found.config = found.configured({"quorum": 0.5, "poll_s": 1.0, "server_dir": "elsewhere"}, 2)
    labels = found.ask()
    found.config = found.configured({"quorum": 1.0}, 2)
    assert found.ask().entry.fingerprint == labels.entry.fingerprint
    # More is asked: what was answered stays answered, and nobody is asked it again.
    found.config = found.configured({}, 3)
    assert "1 of 3 answers received" in found.wait().message


def _no_secret(root: Path, key: str) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            assert key.encode() not in Path(folder, name).read_bytes(), name


def test_many_records_are_read_only_when_the_quorum_may_be_reached() -> None:
    people = PeopleConfig(quorum=0.5)
    log = RoundLog(planned=[str(n) for n in range(2000)])

    def worth(completed: int, discarded: int = 0, total: int = 2000) -> bool:
        return needs_reading(people, log, QueueCounts(total, completed, completed, discarded))

    assert not worth(999)
    assert worth(1000)
    assert worth(990, discarded=10)  # what was discarded may be answered too
    assert worth(990, total=1990)  # and so may what was deleted
    # A few records are read whenever somebody has answered.
    assert worth(1, total=900)
    assert not worth(0, total=900)
