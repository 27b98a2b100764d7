"""Which outcomes count for the certified gate, and as what: by hand."""

from typing import Any

from dpo_core.records import Prompt
from flows.steps.gate_pool import complete_units
from generation.config import PromptsConfig

APART = PromptsConfig(path="prompts.jsonl")
TOGETHER = PromptsConfig(path="prompts.jsonl", split_by="group")
POOL = [
    Prompt("p1", "1"),
    Prompt("p2", "2", extra={"group": "g"}),
    Prompt("p3", "3", extra={"group": "g"}),
    Prompt("p4", "4", extra={"group": "h"}),
    Prompt("p5", "5", extra={"group": "h"}),
]


def compared(*outcomes: tuple[str, float | None]) -> list[dict[str, Any]]:
    return [{"prompt_id": name, "outcome": outcome} for name, outcome in outcomes]


def test_each_prompt_is_a_unit_and_counts_in_the_order_of_the_pool() -> None:
    rows = compared(("p3", 0.5), ("p1", 1.0), ("p2", None), ("other", 1.0))
    assert complete_units(POOL, range(3), rows, 1, APART) == [1.0, 0.0, 0.5]


def test_a_group_is_one_unit_once_all_of_it_was_compared() -> None:
    rows = compared(("p1", 1.0), ("p2", 1.0), ("p3", 0.5), ("p4", 1.0))
    assert complete_units(POOL, range(4), rows, 1, TOGETHER) == [1.0, 0.75]
    rows += compared(("p5", 0.0))
    assert complete_units(POOL, range(5), rows, 1, TOGETHER) == [1.0, 0.75, 0.5]
    assert complete_units(POOL, range(2, 5), rows[2:], 1, TOGETHER) == [0.5], "begun by another"


def test_samples_of_a_prompt_are_one_unit() -> None:
    rows = compared(("p1", 1.0), ("p1", 0.0), ("p2", 1.0))
    assert complete_units(POOL, range(2), rows, 2, APART) == [0.5], "one answer of p2 is missing"
