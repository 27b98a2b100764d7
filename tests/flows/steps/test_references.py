"""Campaigns with each kind of reference: which weights serve in which round, and what is kept."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from small_campaign import PROMOTE_ALL, Campaign

from dpo_core.hashing import file_sha256, policy_id
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import read_rows, write_rows
from flows.config import CampaignConfig
from flows.round_state import Policy, TrainingData
from flows.session import Session
from flows.steps.train import train
from reporting.progress import CampaignProgress


def run(campaign: Campaign, *settings: str) -> list[dict[str, Any]]:
    """The rows of metrics.parquet after `ratchet run` with these settings."""
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = campaign.run(*PROMOTE_ALL, *arguments)
    assert done.returncode == 0, done.stderr + done.stdout
    campaign.keep_output(done.stdout)
    return list(pd.read_parquet(campaign.layout.metrics).to_dict("records"))


def nothing_anew(campaign: Campaign, *settings: str) -> bool:
    """Whether running it again makes and removes nothing."""
    before = campaign.entries()
    run(campaign, *settings)
    return campaign.entries() == before


def facts(campaign: Campaign, number: int) -> dict[str, Any]:
    return dict(campaign.artifact(number, "training").entry.facts)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_base_and_a_cache_of_its_log_probs(copy: Campaign) -> None:
    base = copy.artifact(0, "base").entry.facts["policy"]
    before = copy.artifact(1, "training").entry
    first, second = run(copy, "training.reference=base")
    assert first["reference_policy"] == second["reference_policy"] == base
    assert first["previous_policy"] == base != second["previous_policy"] == first["policy"]
    # In round 1 the base samples: that is the reset reference, and nothing is trained again.
    assert copy.artifact(1, "training").entry == before
    assert facts(copy, 1)["first_margin_max"] < 1e-4 < facts(copy, 2)["first_margin_max"]
    assert second["first_loss"] != pytest.approx(0.6931472, abs=1e-4)
    run(copy, "training.reference=base", "training.learning_rate=9e-4", "rounds=1")
    trained = facts(copy, 1)
    assert trained["reference_cached"] == trained["pairs"] and trained["policy"] != first["policy"]


def test_every_second_round_is_a_reset_and_its_weights_are_kept(copy: Campaign) -> None:
    settings = ("training.reference.every=2", "rounds=4", "keep_policies.last=1")
    rows = run(copy, *settings)
    base = copy.artifact(0, "base").entry.facts["policy"]
    sampled = [row["previous_policy"] for row in rows]
    assert len({*sampled}) == 4 and sampled[0] == base
    assert [row["reference_policy"] for row in rows] == [base, base, sampled[2], sampled[2]]
    # Round 3 refers to what round 2 trained, also in round 4: it outlives `last: 1` until then.
    there = [copy.artifact(n, "training").path("policy").exists() for n in (1, 2, 3, 4)]
    assert there == [False, True, False, True]
    assert nothing_anew(copy, *settings)


def test_an_average_follows_the_policy(copy: Campaign) -> None:
    settings = ("training.reference.ema=0.25", "rounds=3", "keep_policies=promoted")
    rows = run(copy, *settings)
    base = copy.artifact(0, "base")
    made = [copy.artifact(number, "reference") for number in (2, 3)]
    expected = [base.entry.facts["policy"], *(a.entry.facts["policy"] for a in made)]
    assert [row["reference_policy"] for row in rows] == expected and len({*expected}) == 3
    # Of averages only the last one is of use, and it is what the recurrence says.
    assert [artifact.path("policy").exists() for artifact in made] == [False, True]
    assert policy_id(made[1].path("policy")) == expected[2]
    zero, one, two = (
        weights(copy.artifact(n, step).path("policy"))
        for n, step in ((0, "base"), (1, "training"), (2, "training"))
    )
    for name, tensor in weights(made[1].path("policy")).items():
        second = 0.75 * zero[name].double() + 0.25 * one[name].double()
        third = 0.75 * second + 0.25 * two[name].double()
        torch.testing.assert_close(tensor.double(), third, rtol=0, atol=1e-6)
    for number in (2, 3):
        assert facts(copy, number)["first_margin_max"] > 1e-4
    assert nothing_anew(copy, *settings)


def test_the_samplers_log_probs_serve(copy: Campaign) -> None:
    before = {number: facts(copy, number) for number in (1, 2)}
    first, second = run(copy, "training.reference_logps=from_sampling")
    for number, row in ((1, first), (2, second)):
        found = facts(copy, number)
        assert found["reference_source"] == "sampling"
        assert 0 < found["from_sampling_mean"] <= found["from_sampling_largest"] < 1e-4
        assert row["first_loss"] == pytest.approx(0.6931472, abs=1e-4)
        assert row["reference_policy"] == row["previous_policy"]
    assert facts(copy, 1)["loss"] == pytest.approx(before[1]["loss"], abs=1e-4)
    assert not any(facts(copy, number)["warnings"] for number in (1, 2))


def test_a_log_prob_that_is_off_is_told(copy: Campaign, tmp_path: Path) -> None:
    raw = yaml.safe_load(copy.layout.config.read_text())
    raw["training"]["reference_logps"] = "from_sampling"
    base, preferences, sampled = (
        copy.artifact(*step) for step in ((0, "base"), (1, "preferences"), (1, "completions"))
    )
    rows = read_rows(sampled.path("completions.parquet"))
    pair = read_rows(preferences.path("preferences.parquet"))[0]
    sides = [row for row in rows if row["completion_id"] in (pair["chosen"], pair["rejected"])]
    longer = max(sides, key=lambda row: len(row["token_ids"]))
    # Too much for this pair, and little on average: the bound of both is 1e-4 nats per token.
    longer["token_logps"][0] += 1.5e-4 * len(longer["token_ids"])
    write_rows(tmp_path / "completions.parquet", rows, COMPLETIONS)
    policy = Policy(0, base.entry.facts["policy"], base.path("policy"), base)
    shown = StringIO()
    progress = CampaignProgress(Console(file=shown, width=200), rounds=1)
    with Session.open(copy.layout.root, CampaignConfig.model_validate(raw), progress) as session:
        outputs = {"completions.parquet": file_sha256(tmp_path / "completions.parquet")}
        off = replace(sampled, folder=tmp_path, entry=replace(sampled.entry, outputs=outputs))
        trained = train(
            session, 1, policy, policy, TrainingData(preferences, off)
        ).made_by.entry.facts
    assert trained["reference_source"] == "cache", "the pass was made when the campaign was run"
    assert trained["from_sampling_mean"] < 1e-4 < trained["from_sampling_largest"]
    said = f"the sampler's log-probs are not used as reference: {trained['from_sampling_refused']}"
    assert said in shown.getvalue() and said in trained["warnings"][0]["message"]


def test_a_loss_without_a_reference(copy: Campaign) -> None:
    rows = run(copy, "training.loss=simpo", "training.beta=2")
    for row in rows:
        assert pd.isna(row["reference_policy"]) and pd.isna(row["margin"])
        assert row["loss"] > 0
    assert facts(copy, 1)["reference_source"] is None
    status = copy.ratchet("status", "campaign")
    assert status.returncode == 0 and "–" in status.stdout
    assert copy.ratchet("report", "campaign").returncode == 0
