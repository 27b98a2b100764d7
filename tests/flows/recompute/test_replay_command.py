"""`ratchet replay` on a small real campaign: once as it is, once with a score that was changed."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_campaign import STEPS, Campaign
from typer.testing import CliRunner, Result

from dpo_core.campaign.layout import MANIFEST
from dpo_core.campaign.store import Store
from dpo_core.errors import BadInput
from dpo_core.hashing import file_sha256
from flows.cli import app
from tests.resealed import reseal_text


def replay(campaign: Campaign, monkeypatch: pytest.MonkeyPatch, number: int) -> Result:
    monkeypatch.chdir(campaign.folder)
    return CliRunner().invoke(app, ["replay", "campaign", "--round", str(number)])


def test_a_round_is_bit_equal(finished: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.layout.root.rglob("*")}
    done = replay(finished, monkeypatch, 2)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [[step, "equal"] for step in STEPS]
    assert lines[-1].startswith(f"round 2 is bit-equal: {len(STEPS)} steps, ")
    assert {p: p.stat().st_mtime_ns for p in finished.layout.root.rglob("*")} == before


def test_a_changed_score_is_named(copy: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    column = score_changed(copy, row=3)
    done = replay(copy, monkeypatch, 1)
    assert done.exit_code == 1, done.output
    verdict = done.output.splitlines()[-1]
    assert verdict.startswith(
        "round 1 is not bit-equal: the first difference is in step answer_scores, "
        f"scores.parquet: column score, row 3: 99.0 then, {column[3]} now"
    )


def score_changed(campaign: Campaign, row: int) -> list[float]:
    """Round 1 recorded as if a judge had once said otherwise; the scores it really gave."""
    scores = campaign.artifact(1, "answer_scores")
    path = scores.path("scores.parquet")
    table = pq.read_table(path)
    real = table["score"].to_pylist()
    changed = pa.array([*real[:row], 99.0, *real[row + 1 :]], table.schema.field("score").type)
    place = table.schema.get_field_index("score")
    pq.write_table(table.set_column(place, table.schema.field("score"), changed), path)
    old, new = scores.hash("scores.parquet"), file_sha256(path)
    for recorded in (campaign.layout.ledger, scores.path(MANIFEST)):
        assert old in recorded.read_text(encoding="utf-8")
        reseal_text(recorded, old, new)
    return [float(value) for value in real]


def test_pruned_weights_are_one_clear_error(
    copy: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(copy.layout.root, 1)
    store.prune(copy.artifact(0, "base"), "policy")
    done = replay(copy, monkeypatch, 1)
    assert isinstance(done.exception, BadInput)
    assert "round 1 cannot be replayed: it needs the weights of round 0" in str(done.exception)


def test_only_finished_rounds(
    finished: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "round 3 of campaign is not finished" in str(replay(finished, monkeypatch, 3).exception)
    assert json.loads(finished.layout.current.read_text(encoding="utf-8"))["rounds"]["02"]
