"""The benchmark of large rounds at a tiny size. No time is tested."""

import json
from pathlib import Path

import pytest

from benchmarks import dpo_scale
from dpo_core.tables import read_rows
from examples.reviews.grammar import accepts
from examples.reviews.model import build


def test_pairs_are_judged_reviews(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    build(tmp_path / "model", seed=0, hidden_size=32, layers=2)
    dpo_scale.write(tmp_path / "50", tmp_path / "model", 50)
    completions = {
        row["completion_id"]: row for row in read_rows(tmp_path / "50/completions.parquet")
    }
    preferences = read_rows(tmp_path / "50/preferences.parquet")
    assert len({row["pair_id"] for row in preferences}) == 50 and len(completions) == 100
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for preference in preferences:
        for side in ("chosen", "rejected"):
            row = completions[preference[side]]
            assert row["token_ids"][-1] == tokenizer.eos_token_id
            text = tokenizer.decode(row["prompt_token_ids"] + row["token_ids"][:-1])
            assert accepts(text) and text.endswith(row["text"])


@pytest.mark.proof
def test_sizes_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    result = dpo_scale.measure(dpo_scale.parse(["--pairs", "40", "80"]))
    assert [size["pairs"] for size in result["sizes"]] == [40, 80]
    assert [size["repeats"] for size in result["sizes"]] == [2, 1]
    assert all(s["cpu_seconds"] > 0 and s["peak_memory_mib"] > 100 for s in result["sizes"])
    assert result["parameters"] <= dpo_scale.MOST_PARAMETERS
    dpo_scale.show(result)
    assert "a model of 28,960 parameters" in capsys.readouterr().out
    json.dumps(result)


def test_growth_is_that_of_the_largest_over_the_first() -> None:
    assert dpo_scale.growth([10.0, 12.0, 11.0]) == pytest.approx(0.2)
    assert dpo_scale.growth([10.0, 9.0]) == 0
