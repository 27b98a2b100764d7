"""Inputs of steps: the only way to paths, and what fingerprints know of them."""

from pathlib import Path

import pytest

from dpo_core.campaign.inputs import GONE, Input, Inputs
from dpo_core.errors import BadInput, InvariantViolated
from dpo_core.hashing import file_sha256


def test_what_was_not_declared_has_no_path(tmp_path: Path) -> None:
    inputs = Inputs("judgements", {"pairs": Input("hash", tmp_path), "measured": Input("value")})
    assert inputs.path("pairs") == tmp_path and inputs.find("scores") is None
    for name in ("prompts", "measured"):
        with pytest.raises(InvariantViolated, match=f"judgements reads {name}, which it did not"):
            inputs.path(name)


def test_fingerprints_know_contents_and_not_places(tmp_path: Path) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text("{}")
    declared = {"gold": Input.of_file(file), "value": Input("v"), "log": Input(None, tmp_path)}
    assert Inputs("labels", declared).hashes == {"gold": file_sha256(file), "value": "v"}


def test_a_file_that_is_gone_is_missed_where_it_is_read(tmp_path: Path) -> None:
    inputs = Inputs("labels", {"gold": Input.of_file(tmp_path / "gold.jsonl")})
    assert inputs.hashes == {"gold": GONE}
    with pytest.raises(BadInput, match=r"labels needs .*gold\.jsonl, which is gone"):
        inputs.find("gold")
