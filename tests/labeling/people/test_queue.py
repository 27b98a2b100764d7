"""Pushing and collecting on a real Argilla server."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from annotators import Annotator, call, items_of, new_log, new_task, pairs, silent

from dpo_core.errors import LabelsError, LabelServerFailed
from dpo_core.records import Judgement, Pair
from labeling.people import argilla_queue
from labeling.people.answers import latest_answers
from labeling.people.argilla_http import IMPATIENT, public_url
from labeling.people.argilla_queue import ArgillaQueue
from labeling.people.asking import Task, ask, collect
from labeling.people.label_queue import Dataset
from labeling.people.log import LabelLog
from labeling.people.task import ItemBuilder, plan_items
from labeling.server import WORKSPACE, Access
from tests.shared_argilla import SharedArgilla


def asked(server: SharedArgilla, log: LabelLog, task: Task) -> Dataset:
    with ArgillaQueue(server.access, WORKSPACE, IMPATIENT) as queue:
        return ask(queue, log, task, silent)


def server_records(server: SharedArgilla, dataset: Dataset) -> list[dict[str, Any]]:
    with ArgillaQueue(server.access, WORKSPACE, IMPATIENT) as queue:
        return list(queue.records(dataset, silent))


def test_pushing_twice_changes_nothing(argilla: SharedArgilla, tmp_path: Path) -> None:
    log, task = new_log(tmp_path), new_task(items_of(pairs(5), repeats=1))
    dataset = asked(argilla, log, task)
    before, lines = server_records(argilla, dataset), log.path.read_text(encoding="utf-8")
    assert [record["external_id"] for record in before] == task.record_ids
    assert asked(argilla, log, task) == dataset
    assert server_records(argilla, dataset) == before
    assert log.path.read_text(encoding="utf-8") == lines


def test_changed_text_is_a_new_record(
    argilla: SharedArgilla, ann: Annotator, tmp_path: Path
) -> None:
    found = pairs(3)
    log, task = new_log(tmp_path), new_task(items_of(found))
    dataset = asked(argilla, log, task)
    ann.answer(ann.queue(dataset)[0], "A")
    with ArgillaQueue(argilla.access, WORKSPACE, IMPATIENT) as queue:
        collect(queue, dataset, log, silent)
    (answer,) = latest_answers(log.read().answers.values())
    changed = [replace(p, a=replace(p.a, text=p.a.text + "!")) for p in found]
    again = replace(task, items=items_of(changed))
    assert asked(argilla, log, again) == dataset
    ids = {record["external_id"] for record in server_records(argilla, dataset)}
    # What somebody has answered stays; what nobody has begun is taken off the queue.
    assert ids == {*again.record_ids, answer.record_id}
    assert not {*again.record_ids} & {*task.record_ids}
    assert again.tally(log.read()).missing == 3


HOSTILE = {
    "nul": "a\x00b",
    "ansi": "\x1b[31mred\x1b[0m",
    "surrogate": "half \ud800 of a character",
    "long line": "x" * 100_000,
    "script": "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>",
    "markdown": "# Heading\n\n| a | b |\n|---|---|\n\n![spy](http://127.0.0.1:1/spy.png)\n```\nopen",
    "empty": "",
}


def test_hostile_texts(argilla: SharedArgilla, ann: Annotator, tmp_path: Path) -> None:
    found = pairs(len(HOSTILE), text="hostile")
    texts = list(HOSTILE.values())
    hostile = [
        Pair(
            pair.pair_id,
            replace(pair.a, text=text, prompt=replace(pair.a.prompt, text=text)),
            replace(pair.b, prompt=replace(pair.b.prompt, text=text)),
        )
        for pair, text in zip(found, texts, strict=True)
    ]
    log, task = new_log(tmp_path), new_task(items_of(hostile))
    dataset = asked(argilla, log, task)
    seen = {record["external_id"]: record["fields"] for record in ann.queue(dataset)}
    for item in task.items:
        fields = seen[item.record_id]
        assert (fields["response_a"], fields["response_b"]) == (
            item.seen.response_a,
            item.seen.response_b,
        )
        assert [(m["role"], m["content"]) for m in fields["prompt"]] == list(item.seen.prompt)
    assert "<script" not in json.dumps(seen)


def test_an_annotator_finds_nothing_but_the_task(
    argilla: SharedArgilla, ann: Annotator, tmp_path: Path
) -> None:
    """Blind: whatever they ask for, no opinion of a judge, no kind, no order comes back."""
    opinions = {p.pair_id: Judgement("a", confidence=0.9) for p in pairs(4)}
    asking = ItemBuilder(1, 7, "blind", opinions, "judge-that-nobody-sees")
    items = plan_items(asking, [(p, "why-that-nobody-sees") for p in pairs(4)], [], 2)
    dataset = asked(argilla, new_log(tmp_path), new_task(items))
    shown = ann.queue(dataset)
    texts = [json.dumps(shown)]
    places = [f"records/{record['id']}" for record in shown]
    places += [f"records/{record['id']}/suggestions" for record in shown]
    places += [f"datasets/{dataset.id}", f"datasets/{dataset.id}/records"]
    places += [f"me/datasets/{dataset.id}/metadata-properties", f"datasets/{dataset.id}/questions"]
    for place in places:
        try:
            texts.append(json.dumps(ann.call("GET", place)))
        except httpx.HTTPStatusError as refused:
            assert refused.response.status_code == 403
    everything = "\n".join(texts)
    for secret in ("nobody-sees", "repeat", "gold", "shown_first", items[0].hidden.pair_id):
        assert secret not in everything
    assert {frozenset(record["metadata"]) for record in shown} == {
        frozenset({"round", "length_a", "length_b"})
    }
    assert all(not record.get("suggestions") for record in shown)


def test_review_shows_the_opinion_as_a_suggestion(
    argilla: SharedArgilla, ann: Annotator, tmp_path: Path
) -> None:
    found = pairs(3, text="review")
    opinions = {
        found[0].pair_id: Judgement("a", confidence=0.9),
        found[1].pair_id: Judgement("tie"),
    }
    asking = ItemBuilder(1, 7, "review", opinions, "rule:x")
    items = plan_items(asking, [(pair, "") for pair in found], [], 0)
    dataset = asked(argilla, new_log(tmp_path), new_task(items))
    by_id = {record["external_id"]: record for record in ann.queue(dataset)}
    for item in items:
        record = ann.call("GET", f"records/{by_id[item.record_id]['id']}/suggestions")
        said = [(s["value"], s["score"], s["agent"], s["type"]) for s in record["items"]]
        if item.hidden.pair_id == found[0].pair_id:
            side = "A" if item.hidden.shown_first == "a" else "B"
            assert said == [(side, 0.9, "rule:x", "model")]
        else:
            tied = item.hidden.pair_id == found[1].pair_id
            assert said == ([("Tie", None, "rule:x", "model")] if tied else [])


def test_what_the_page_is_made_of(argilla: SharedArgilla, ann: Annotator, tmp_path: Path) -> None:
    task = new_task(items_of(pairs(1)), min_submitted=2)
    dataset = asked(argilla, new_log(tmp_path), task)
    about = ann.call("GET", f"datasets/{dataset.id}")
    assert (about["name"], about["guidelines"], about["status"]) == (task.name, "Be fair.", "ready")
    assert about["distribution"] == {"strategy": "overlap", "min_submitted": 2}
    fields = ann.call("GET", f"datasets/{dataset.id}/fields")["items"]
    assert {f["name"]: (f["settings"]["type"], f["settings"]["use_markdown"]) for f in fields} == {
        "prompt": ("chat", True),
        "response_a": ("text", True),
        "response_b": ("text", True),
    }
    questions = ann.call("GET", f"datasets/{dataset.id}/questions")["items"]
    asked_for = [(q["name"], q["settings"]["type"], q["required"]) for q in questions]
    assert asked_for == [
        ("preference", "label_selection", True),
        ("strength", "rating", False),
        ("comment", "text", False),
    ]
    assert questions[0]["title"] == "Which response is better?"
    options = [option["value"] for option in questions[0]["settings"]["options"]]
    assert options == ["A", "B", "Tie", "Both bad"]
    # Guidelines may change while people label.
    assert asked(argilla, new_log(tmp_path), replace(task, guidelines="Be quick.")) == dataset
    assert ann.call("GET", f"datasets/{dataset.id}")["guidelines"] == "Be quick."


def test_an_interrupted_push_goes_on(
    argilla: SharedArgilla, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(argilla_queue, "_BATCH", 4)
    log, task = new_log(tmp_path), new_task(items_of(pairs(10)))

    def interrupted(done: int, total: int, unit: str) -> None:
        if unit == "records sent" and done == 8:
            raise KeyboardInterrupt

    with (
        ArgillaQueue(argilla.access, WORKSPACE, IMPATIENT) as queue,
        pytest.raises(KeyboardInterrupt),
    ):
        ask(queue, log, task, interrupted)
    sent: list[tuple[int, int]] = []

    def count(done: int, total: int, unit: str) -> None:
        if unit == "records sent":
            sent.append((done, total))

    with ArgillaQueue(argilla.access, WORKSPACE, IMPATIENT) as queue:
        dataset = ask(queue, log, task, count)
    assert sent == [(2, 2)]
    found = [record["external_id"] for record in server_records(argilla, dataset)]
    assert found == task.record_ids


def test_a_half_made_dataset_is_finished(argilla: SharedArgilla, tmp_path: Path) -> None:
    task = new_task(items_of(pairs(1)))
    owner = argilla.access.api_key
    places = call(argilla.access, owner, "GET", "me/workspaces")["items"]
    [place] = [one for one in places if one["name"] == WORKSPACE]
    body = {"name": task.name, "workspace_id": place["id"]}
    draft = call(argilla.access, owner, "POST", "datasets", json=body)
    field: dict[str, Any] = {"name": "prompt", "title": "Prompt", "required": True}
    field["settings"] = {"type": "chat", "use_markdown": True}
    call(argilla.access, owner, "POST", f"datasets/{draft['id']}/fields", json=field)
    dataset = asked(argilla, new_log(tmp_path), task)
    assert dataset.id == draft["id"]
    assert len(server_records(argilla, dataset)) == 1


def test_no_server_and_no_entry(argilla: SharedArgilla) -> None:
    nowhere = ArgillaQueue(Access("http://127.0.0.1:9", "a-secret-key"), WORKSPACE, IMPATIENT)
    with nowhere, pytest.raises(LabelServerFailed, match="does not answer") as silence:
        nowhere.find("anything")
    assert "ratchet label serve" in silence.value.remedy
    locked = ArgillaQueue(Access(argilla.access.url, "a-secret-key"), WORKSPACE, IMPATIENT)
    with locked, pytest.raises(LabelsError, match="refuses the API key") as refusal:
        locked.find("anything")
    for error in (silence.value, refusal.value):
        assert "a-secret-key" not in error.shown()


def test_an_address_is_shown_without_its_password() -> None:
    assert public_url("https://me:secret@host:8080/argilla/") == "https://host:8080/argilla"
    assert public_url("http://127.0.0.1:6900") == "http://127.0.0.1:6900"
