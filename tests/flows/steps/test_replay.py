"""A round that trains on the preferences of several rounds: real campaigns, counted and killed."""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from small_campaign import CONFIG, RUN, STEPS, TIMEOUT_S, Campaign

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.ledger import Entry
from flows.config import validate
from flows.round_state import RoundRecord, TrainingData
from flows.session import Session
from flows.steps.training_data import training_data
from reporting.progress import CampaignProgress

ALL = ("--set", "data.rounds=all")


@pytest.fixture(scope="module")
def replayed(finished: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """The small campaign with round 2 trained on both rounds' pairs."""
    campaign = finished.copied(tmp_path_factory.mktemp("replayed") / "copy")
    anew(campaign, *ALL)
    return campaign


def anew(campaign: Campaign, *arguments: str) -> list[Entry]:
    before = len(campaign.entries())
    done = campaign.run(*arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    return campaign.entries()[before:]


def rows(artifact: Artifact, name: str) -> dict[str, dict[str, Any]]:
    found = pq.read_table(artifact.path(f"{name}.parquet")).to_pylist()
    key = "pair_id" if name == "preferences" else "completion_id"
    assert len({row[key] for row in found}) == len(found), "each once"
    return {row[key]: row for row in found}


def test_round_two_trains_on_the_pairs_of_both_rounds(
    finished: Campaign, replayed: Campaign
) -> None:
    made = replayed.entries()[len(finished.entries()) :]
    after = STEPS[STEPS.index("audit") :]
    # Round 1 has nothing to replay, so nothing of it is made again.
    assert [(e.round, e.step) for e in made] == [(2, step) for step in ("data", *after)]
    kept = {n: replayed.artifact(n, "preferences").entry.kept for n in (1, 2)}
    data, training = made[0], made[2]
    assert data.facts["pairs_by_round"] == {str(n): count for n, count in kept.items()}
    assert data.came_in == data.kept == training.kept == training.came_in == sum(kept.values())
    row = pd.read_parquet(replayed.layout.metrics).to_dict("records")
    assert [r["pairs"] for r in row] == [kept[1], kept[1] + kept[2]]
    assert [r["pairs_replayed"] for r in row] == [0, kept[1]]
    assert "replayed" in replayed.ratchet("status", "campaign").stdout
    assert "replayed" not in finished.ratchet("status", "campaign").stdout


def test_only_the_rounds_own_answers_are_held_against_its_policy(replayed: Campaign) -> None:
    data = replayed.artifact(2, "data")
    found = rows(data, "completions")
    named = {r[side] for r in rows(data, "preferences").values() for side in ("chosen", "rejected")}
    assert set(found) == named, "only what pairs need"
    for number in (1, 2):
        for identity, row in rows(replayed.artifact(number, "completions"), "completions").items():
            if identity in found:
                logps = row["token_logps"] if number == 2 else None
                assert found[identity] == {**row, "token_logps": logps}
    training = replayed.artifact(2, "training").entry.facts
    # Small: its own answers were sampled by it. Those of round 1 were not: by the base's log-probs
    # they would differ by far more than the allowed 1e-4.
    assert training["sampling_gap"] < 1e-4
    assert training["first_loss"] == pytest.approx(0.6931472, abs=1e-4)


def test_changed_pairs_of_round_one_train_round_two_again(
    replayed: Campaign, tmp_path: Path
) -> None:
    copy = replayed.copied(tmp_path / "copy")
    before = {n: rows(copy.artifact(n, "preferences"), "preferences") for n in (1, 2)}
    made = anew(copy, *ALL, "--set", "pairs.min_margin=5")
    assert [(e.round, e.step) for e in made if e.step in ("data", "training")] == [
        (1, "training"),
        (2, "data"),
        (2, "training"),
    ]
    now = {n: rows(copy.artifact(n, "preferences"), "preferences") for n in (1, 2)}
    assert 0 < len(now[1]) < len(before[1]), "a wider margin leaves fewer"
    assert rows(copy.artifact(2, "data"), "preferences") == now[1] | now[2]


def test_killed_and_resumed_is_the_same(
    finished: Campaign, replayed: Campaign, tmp_path: Path
) -> None:
    copy = finished.copied(tmp_path / "copy")
    command = [sys.executable, "-m", "flows.cli", *RUN, *ALL]
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=copy.folder, env=copy.environment(), **options) as run:
        deadline = time.monotonic() + TIMEOUT_S
        while not list(copy.layout.round(2).glob("data-*")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    anew(copy, *ALL)
    for step in ("data", "training"):
        ours, theirs = (c.artifact(2, step).entry for c in (copy, replayed))
        assert ours.fingerprint == theirs.fingerprint
        assert ours.facts.get("policy") == theirs.facts.get("policy")
    assert copy.artifact(2, "data").entry.outputs == replayed.artifact(2, "data").entry.outputs


def of_round_three(campaign: Campaign, rounds: Any, imported: Sequence[int] = ()) -> TrainingData:
    """What a third round would train on whose own preferences are round 2's, with rounds 1 and 2
    before it; those named in `imported` took their pairs over."""
    config = validate({**CONFIG, "data": {"rounds": rounds, "imported": "/pairs"}}, "test")
    artifacts = {
        n: {
            step: None if step == "pairs" and n in imported else campaign.artifact(n, step)
            for step in ("preferences", "completions", "pairs")
        }
        for n in (1, 2)
    }
    earlier = [RoundRecord(made, None) for made in artifacts.values()]
    own = campaign.artifact(2, "preferences"), campaign.artifact(2, "completions")
    with (
        CampaignProgress(Console(file=io.StringIO()), 3) as progress,
        Session.open(campaign.layout.root, config, progress) as session,
    ):
        return training_data(session, 3, TrainingData(*own), earlier)


def test_which_rounds_are_brought_in(copy: Campaign) -> None:
    kept = {n: copy.artifact(n, "preferences").entry.kept for n in (1, 2)}

    def by_round(rounds: Any, imported: Sequence[int] = ()) -> dict[str, int] | None:
        made = of_round_three(copy, rounds, imported).joined
        if made is None:
            return None
        assert made.entry.came_in == made.entry.kept + sum(made.entry.dropped.values())
        return dict(made.entry.facts["pairs_by_round"])

    assert by_round("latest") is by_round({"last": 1}) is None, "the round's own, untouched"
    # Round 3 has the very pairs of round 2, which count once.
    assert by_round({"last": 2}) == {"2": 0, "3": kept[2]}
    assert by_round({"last": 9}) == by_round("all") == {"1": kept[1], "2": 0, "3": kept[2]}
    third = {"mix": {"latest": 3, "earlier": 1}}
    assert by_round(third) == {"1": int(kept[2] / 3 + 0.5), "2": 0, "3": kept[2]}
    half = {"mix": {"latest": 2, "imported": 1}}
    assert by_round(half) is None, "none of the rounds was imported"
    assert by_round(half, imported=[1]) == {"1": int(kept[2] / 2 + 0.5), "3": kept[2]}


def test_imported_pairs_are_mixed_in_after_the_warm_start(copy: Campaign) -> None:
    lines = [f"write review {n},a good one {n},a bad one {n},a" for n in range(16)]
    (copy.folder / "mine.csv").write_text("\n".join(["prompt,a,b,verdict", *lines]) + "\n")
    brought_in = copy.ratchet("import", "mine.csv", "pairs")
    assert brought_in.returncode == 0, brought_in.stderr
    mix = "data.rounds={mix: {latest: 2, imported: 1}}"
    made = anew(copy, "--set", "data.imported=pairs", "--set", mix)
    trained = [(e.round, e.step, e.kept) for e in made if e.step in ("data", "training")]
    own = copy.artifact(2, "preferences").entry.kept
    half = int(own / 2 + 0.5)
    assert 0 < half < 16
    assert trained == [(1, "training", 16), (2, "data", own + half), (2, "training", own + half)]
    data = copy.artifact(2, "data").entry
    assert data.facts["pairs_by_round"] == {"1": half, "2": own}
    assert data.dropped == {"not_drawn_by_mix": 16 - half}
