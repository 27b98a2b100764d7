"""`ratchet compare` on a real campaign and a branch of it."""

import json
from pathlib import Path

import pytest
from small_campaign import Campaign
from typer.testing import CliRunner

from dpo_core.errors import BadInput
from flows.cli import app
from flows.operations.branch import branch_campaign


def compare(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", *arguments], env={"COLUMNS": "100"})
    if isinstance(done.exception, BadInput):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_a_campaign_and_its_branch(finished: Campaign, tmp_path: Path) -> None:
    import os

    root = finished.layout.root
    changes = ["training.beta=0.1"]
    made, _ = branch_campaign(root, 1, changes, tmp_path / "branch", None, os.link)
    page = tmp_path / "compare.html"
    output = compare(str(root), str(made.root), "--html", str(page))
    assert "small and small-from-1 share round 1: the same policies." in output
    assert "small-from-1 is a branch of small after round 1" in output
    assert "training.beta" in output and f"page: {page}" in output
    assert "share round 1" in page.read_text(encoding="utf-8")

    found = json.loads(compare(str(root), str(made.root), "--json"))
    assert found["comparable"] and found["config"] == {
        "training.beta": {"small": "0.5", "small-from-1": "0.1"}
    }
    rounds = [len(side["campaign"]["rounds"]) for side in found["campaigns"]]
    assert rounds == [2, 1]


def test_needs_two(finished: Campaign, tmp_path: Path) -> None:
    root = str(finished.layout.root)
    for arguments in ([root], [root, root]):
        with pytest.raises(BadInput, match="two different campaigns"):
            compare(*arguments)
    with pytest.raises(BadInput, match="is not a campaign"):
        compare(root, str(tmp_path))
