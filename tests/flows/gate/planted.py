"""A campaign in which the labels of a round are turned round, as a broken judge would."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from small_campaign import CONFIG, RUN, TIMEOUT_S, Campaign

from dpo_core.campaign.current import read_current, write_current
from dpo_core.campaign.layout import MANIFEST, round_name
from dpo_core.hashing import file_sha256
from examples.reviews.grammar import prompts
from flows.config.defaults import earlier_defaults
from tests.resealed import reseal_text

WIN_RATE_ALONE = {
    key.removeprefix("gate."): old
    for key, old in earlier_defaults(1).items()
    if key.startswith("gate.")
}
"""A gate without any other check."""
IMPROVING: dict[str, Any] = {
    **CONFIG,
    "prompts": {"path": "prompts.jsonl", "per_round": 256},
    # Answers that were cut lose: so even an untrained policy learns to be brief.
    "pairs": {"truncated": "keep"},
    "training": {"beta": 0.5, "learning_rate": 3e-4, "warmup_steps": 0, "pairs_per_step": 16},
    "evaluation": {"gate_prompts": 128, "test_prompts": 128, "bootstrap_resamples": 1000},
    # It is about win rates: what brief answers are like is no fault here.
    "gate": {"otherwise": "rollback", **WIN_RATE_ALONE},
}
"""Every round of it is clearly better than the one before."""


def create(folder: Path, **sections: Any) -> Campaign:
    folder.mkdir()
    campaign = Campaign.create(folder)
    rows = [json.dumps(row) for row in list(prompts())[::3]]
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    config = {**IMPROVING, **sections}
    config["prompts"] = {**config["prompts"], "path": str(path)}
    (folder / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return campaign


def copied(campaign: Campaign, folder: Path) -> Campaign:
    shutil.copytree(campaign.folder, folder)
    return Campaign(folder)


def forget_after(campaign: Campaign, number: int, step: str) -> None:
    """As if the campaign had been killed when `step` of round `number` had just finished."""
    layout = campaign.layout
    entries = [(entry.round, entry.step) for entry in campaign.entries()]
    kept = entries.index((number, step)) + 1
    lines = layout.ledger.read_text(encoding="utf-8").splitlines(keepends=True)
    layout.ledger.write_text("".join(lines[:kept]), encoding="utf-8")
    rounds = {name: dict(steps) for name, steps in read_current(layout).rounds.items()}
    for entry_round, gone in entries[kept:]:
        name = rounds[round_name(entry_round)].pop(gone)
        shutil.rmtree(layout.round(entry_round) / name)
    write_current(layout, read_current(layout).with_fact("rounds", rounds))


def turn_labels_round(campaign: Campaign, number: int) -> int:
    """Swap chosen and rejected in all preferences of a round, and record them so; how many."""
    made = campaign.artifact(number, "preferences")
    path = made.path("preferences.parquet")
    table = pq.read_table(path)
    swapped = {"chosen": "rejected", "rejected": "chosen"}
    names = [swapped.get(name, name) for name in table.column_names]
    pq.write_table(table.rename_columns(names).select(table.column_names), path)
    was, now = made.hash("preferences.parquet"), file_sha256(path)
    for recorded in (made.path(MANIFEST), campaign.layout.ledger):
        reseal_text(recorded, was, now)
    return int(table.num_rows)


def killed_after(campaign: Campaign, number: int, step: str, *settings: str) -> None:
    """SIGKILL for a run as soon as its ledger has `step` of round `number` once more."""
    before = len(campaign.entries())
    run = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *RUN, *settings],
        cwd=campaign.folder,
        env=campaign.environment(),
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + TIMEOUT_S
    while (number, step) not in [(e.round, e.step) for e in campaign.entries()[before:]]:
        assert run.poll() is None, "it ended before its time"
        assert time.monotonic() < deadline, "never reached"
        time.sleep(0.01)
    run.kill()
    run.wait()


def scores(campaign: Campaign, number: int) -> dict[str, float]:
    """Test prompt → the judge's score of the answer of that round's policy."""
    answers = pq.read_table(campaign.artifact(number, "answers").path("completions.parquet"))
    judged = pq.read_table(campaign.artifact(number, "answer_scores").path("scores.parquet"))
    by_id = dict(_pairs(judged, "completion_id", "score"))
    held = pq.read_table(campaign.artifact(0, "held_out").path("prompts.parquet"))
    test = {prompt for prompt, split in _pairs(held, "prompt_id", "split") if split == "test"}
    return {
        prompt: by_id[completion]
        for prompt, completion in _pairs(answers, "prompt_id", "completion_id")
        if prompt in test
    }


def _pairs(table: Any, first: str, second: str) -> Iterator[tuple[Any, Any]]:
    return zip(table[first].to_pylist(), table[second].to_pylist(), strict=True)
