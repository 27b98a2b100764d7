"""`ratchet branch` on a small real campaign, whose folder is removed before the branch goes on."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from small_campaign import STEPS, Campaign
from typer.testing import CliRunner

from dpo_core.campaign.branching import read_origin
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.errors import BadInput, RatchetError
from flows.cli import app
from flows.config import config_of_round, read_stored


def branch(campaign: Campaign, *arguments: str) -> str:
    """What `ratchet branch` prints. Raises what the command line would show."""
    done = CliRunner().invoke(app, ["branch", str(campaign.layout.root), *arguments])
    if isinstance(done.exception, RatchetError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_goes_on_without_its_campaign(copy: Campaign) -> None:
    before, second = copy.entries(), copy.artifact(2, "training").entry
    output = branch(copy, "--from-round", "1", "--set", "training.beta=0.05", "--name", "loose")
    made = Layout(copy.folder / "loose")
    assert "changed: training.beta: 0.5 → 0.05" in output
    assert f"ratchet run {made.config} --campaign-dir {made.root}" in output
    weights = "rounds/01/*/policy/*.safetensors"
    for shared in (next(made.root.glob(weights)), next(copy.layout.root.glob(weights))):
        assert shared.stat().st_nlink == 2
    shutil.rmtree(copy.layout.root)

    done = copy.ratchet("run", str(made.config), "--campaign-dir", str(made.root), "--no-prefect")
    assert done.returncode == 0, done.stderr + done.stdout
    came_along = [entry for entry in before if entry.round <= 1]
    entries = Ledger(made.ledger).read()
    assert entries[: len(came_along)] == came_along
    assert [(e.round, e.step) for e in entries[len(came_along) :]] == [(2, s) for s in STEPS]
    # Its answers are those that the other branch of the road saw too; what it learns is not.
    again = next(e for e in entries if (e.round, e.step) == (2, "training"))
    assert again.inputs == second.inputs and again.outputs != second.outputs
    config = read_stored(made)
    assert config.name == "loose"
    assert [config_of_round(made, config, n).training.beta for n in (0, 1, 2)] == [0.5, 0.5, 0.05]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-round", "3"], "round 3 of .* is not finished: the last finished round is 2"),
        (["--from-round", "1", "--set", "trainin.beta=1"], "unknown key trainin"),
        (
            ["--from-round", "1", "--set", "sampling.temperature=0.7"],
            "cannot change: sampling.temp",
        ),
        (["--from-round", "1", "--set", "policy.model=other"], "policy: set exactly one"),
        (["--from-round", "1", "--set", "seed=7"], "cannot change: seed: 0 → 7"),
        (["--from-round", "1", "--name", "campaign"], "is not empty"),
    ],
)
def test_refusals_write_nothing(finished: Campaign, arguments: list[str], message: str) -> None:
    before = sorted(finished.folder.rglob("*"))
    with pytest.raises(BadInput, match=message):
        branch(finished, *arguments)
    assert sorted(finished.folder.rglob("*")) == before


def test_pruned_weights_are_no_start(copy: Campaign) -> None:
    shutil.rmtree(copy.artifact(0, "base").path("policy"))
    with pytest.raises(BadInput, match="weights of round 0, which round 1 needs, were"):
        branch(copy, "--from-round", "0", "--set", "rounds=1")


def test_another_judge_leaves_the_evaluation_as_it_was(finished: Campaign, tmp_path: Path) -> None:
    judge = json.dumps({"function": "small_judge:other"})
    where = ("--campaign-dir", str(tmp_path / "other"))
    output = branch(finished, "--from-round", "2", "--set", f"judge={judge}", *where)
    config = yaml.safe_load((tmp_path / "other" / "campaign.yaml").read_text(encoding="utf-8"))
    assert config["judge"]["function"] == "small_judge:other"
    assert config["evaluation_judge"]["function"] == "small_judge:score"
    assert "--set rounds=3" in output
    origin = read_origin(Layout(tmp_path / "other"))
    assert origin is not None and origin.name == "small" and origin.round == 2
