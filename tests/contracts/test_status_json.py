"""What programs read: the schema is the code's, and what version 1 promised is there."""

import json
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from dpo_core.campaign.current import StopReason
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import CampaignCost
from dpo_core.text import printed_json
from reporting.as_json import VERSION, as_json, schema

ROOT = Path(__file__).parents[2]
PROMISED = (
    "version name directory state rounds_planned doing headline taken_back outdated base rounds "
    "stopped cost rolled_back"
)
"""Keys of version 1. One may be added; if one has to go, VERSION grows and this starts anew."""
PROMISED_OF_ROUNDS = (
    "round policy promoted prompts completions pairs dropped loss accuracy margin warnings judges "
    "labels kl_previous_nats kl_base_nats length_mean win_rate_previous win_rate_base "
    "win_rate_gate test_prompts seconds_round gpu_seconds cpu_seconds tokens_in tokens_out "
    "labels_by_source money money_by cost_by_step"
)


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "tests" / "flows")
    sys.modules.pop("demo_summary", None)
    from demo_summary import demo

    return demo()


def check(found: dict[str, Any]) -> None:
    Draft202012Validator(schema()).validate(found)


def test_pages_are_those_of_the_code() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "status_doc.py"))
    for name, text in (("status-json.md", "page"), ("status.schema.json", "schema_text")):
        assert (ROOT / "docs" / name).read_text() == script[text](), "run `make docs`"
    Draft202012Validator.check_schema(schema())


def test_what_is_printed_is_what_the_schema_says(demo: Any) -> None:
    stopped = StopReason("plateau", "nothing gained")
    told = replace(demo, stopped=stopped, cost=CampaignCost(money=1.0))
    printed = json.loads(printed_json(as_json(told)))
    check(printed)
    check(json.loads(printed_json(as_json(replace(demo, rounds=(), base={})))))
    broken = [
        {"version": VERSION + 1},
        {"state": "asleep"},
        {"rounds": [{**printed["rounds"][0], "loss": "low"}]},
        {"rounds": [{k: v for k, v in printed["rounds"][0].items() if k != "loss"}]},
        {"rounds": [{**printed["rounds"][0], "measure_x": "much"}]},
    ]
    for wrong in broken:
        with pytest.raises(ValidationError):
            check({**printed, **wrong})


def test_numbers_that_are_none_and_nested_ones_are_null(demo: Any) -> None:
    given = {**demo.rounds[0].given(), "loss": math.nan, "slices": {"a=b": {"low": math.inf}}}
    row = RoundMetrics.model_validate(given)
    [printed] = json.loads(printed_json(as_json(replace(demo, rounds=(row,)))))["rounds"]
    assert printed["loss"] is None and printed["slices"] == {"a=b": {"low": None}}


def test_what_was_promised_is_kept() -> None:
    assert VERSION == 1, "a new version promises anew: write its keys above"
    assert set(PROMISED.split()) <= set(schema()["required"])
    of_rounds = schema()["$defs"]["round"]
    assert set(PROMISED_OF_ROUNDS.split()) <= set(of_rounds["required"])
    kinds = {name: of_rounds["properties"][name]["type"] for name in ("round", "loss", "judges")}
    assert kinds == {
        "round": ["integer", "null"],
        "loss": ["number", "null"],
        "judges": ["object", "array", "null"],
    }
