"""A base that an earlier campaign made: equal to the bit, and no process trains."""

import json
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_campaign import CONFIG, UNTRAINED

from dpo_core.campaign.artifacts import Artifact
from dpo_core.errors import ConfigError
from dpo_core.user_cache import SIZE, cache_bytes
from examples.reviews.grammar import reviews
from flows.config import CampaignConfig
from flows.session import Session
from flows.steps.base import base_policy, held_out, is_reusable
from reporting.progress import CampaignProgress

SFT = {"path": "warm.jsonl", "steps": 3, "batch_size": 4}
PROMPTS = {"function": "examples.reviews.grammar:prompts", "per_round": 24}
RAW: dict[str, Any] = {**CONFIG, **UNTRAINED, "sft": SFT, "prompts": PROMPTS}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv(SIZE, "1")
    return tmp_path / "cache" / "bases"


def base(root: Path, *, reuse_base: bool = True, **changed: Any) -> tuple[Artifact, bool]:
    """The base of a new campaign, and whether a process trained it."""
    rows = root.with_name("warm.jsonl")
    rows.write_text("".join(json.dumps(row) + "\n" for row in islice(reviews(seed=1), 40)))
    config = CampaignConfig.model_validate({**RAW, "sft": SFT | {"path": str(rows)}, **changed})
    shown = CampaignProgress(Console(file=StringIO()), rounds=1)
    with Session.open(root, config, shown, reuse_base=reuse_base) as session:
        made_by = base_policy(session, held_out(session)).made_by
        return made_by, session.processes.running("training") is not None


def files(step: Artifact) -> dict[str, bytes]:
    """Its outputs; the manifest is the ledger's entry, which has times."""
    return {name: step.path(name).read_bytes() for name in step.entry.outputs}


def test_base_of_an_earlier_campaign_is_taken(tmp_path: Path, cache: Path) -> None:
    first, trained = base(tmp_path / "first")
    assert trained and len([*cache.iterdir()]) == 1
    second, trained = base(tmp_path / "second")
    assert not trained
    made, trained = base(tmp_path / "made", reuse_base=False)
    assert trained

    assert files(second) == files(first)
    policy = {name for name in first.entry.outputs if name.startswith("policy/")}
    for step in (second, made):
        assert step.folder.name == first.folder.name
        assert {name: step.entry.outputs[name] for name in policy} == {
            name: first.entry.outputs[name] for name in policy
        }
        for name in ("fingerprint", "inputs", "came_in", "kept", "dropped", "versions", "threads"):
            assert getattr(step.entry, name) == getattr(first.entry, name), name
        facts = [{k: v for k, v in each.entry.facts.items()} for each in (step, first)]
        assert [*facts[0]] == [*facts[1]] and facts[0]["policy"] == facts[1]["policy"]


def test_another_recipe_or_another_number_of_threads_is_another_base(
    tmp_path: Path, cache: Path
) -> None:
    wider = {**UNTRAINED["policy"], "build_args": {"hidden_size": 64}}
    base(tmp_path / "first")
    for place, changed in enumerate(({"seed": 1}, {"threads": 2}, {"policy": wider})):
        assert base(tmp_path / str(place), **changed)[1], changed
    assert len([*cache.iterdir()]) == 4


@pytest.mark.parametrize(
    ("changed", "reusable"),
    [
        ({}, True),
        ({"policy": {"model": "/models/a.gguf"}, "sft": None}, True),
        ({"policy": {"model": "/models/a"}, "sft": None}, False),  # a copy costs as much
        ({"policy": {"model": "org/name"}}, False),  # may change on the hub
        ({"sft": {"function": "my_rows:rows"}}, False),  # may read any file
        ({"policy": {"build": "examples.gsm8k.model:build", "build_args": {"corpus": "x"}}}, False),
        ({"compute": {"kind": "ray"}}, False),
    ],
)
def test_only_what_is_known_by_content_is_kept(changed: dict[str, Any], reusable: bool) -> None:
    assert is_reusable(CampaignConfig.model_validate({**RAW, **changed})) is reusable


@pytest.mark.parametrize("size", ["many", "-1", "nan"])
def test_size_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    monkeypatch.setenv(SIZE, size)
    with pytest.raises(
        ConfigError, match=rf"{SIZE} must be a size in GiB, at least 0 \(found {size}\)"
    ):
        cache_bytes()
