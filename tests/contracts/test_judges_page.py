"""The page on judges shows configs that load and measures that exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from flows.config import validate
from labeling.judges.behaviour import Behaviour
from labeling.judges.config import JUDGE_KINDS, members

PAGE = (Path(__file__).parents[2] / "docs" / "judges.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
REST = {"name": "page", "policy": {"model": "some/model"}, "prompts": {"path": "p.jsonl"}}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_load(example: str) -> None:
    config = validate({**REST, **yaml.safe_load(example)}, "docs/judges.md")
    assert all(member.source for member in members(config.judge))


def test_every_kind_of_judge_has_an_example() -> None:
    assert {kind for kind in JUDGE_KINDS if f"kind: {kind}" in PAGE} == set(JUDGE_KINDS)


def test_measures_are_those_of_the_code() -> None:
    table = PAGE.split("## What is measured")[1]
    named = [
        n for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for n in row.split(", ")
    ]
    known = {field.name for field in fields(Behaviour)}
    assert {name.strip("`") for name in named} <= known
    counts = {"pairs", "decided", "ties", "abstained", "both_orders", "length_pairs"}
    assert {name.strip("`") for name in named} == known - counts
