"""What draws are worth: the reckoning, and a tiny run of the arm that draws until it has enough."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.draws import ARMS, Arm, Round, main, overrides_of, parse, table
from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import Layout
from flows.config import load_config

CONFIG = Path(__file__).parents[2] / "configs" / "demo-cpu.yaml"
JUDGE = """
def score(completions):
    '''Tells the answers to half of the prompts apart.'''
    return [-float(len(c.text)) if "was" in c.prompt.text else 0.0 for c in completions]
"""
TINY = {
    "name": "draws",
    "rounds": 2,
    "threads": 1,
    "policy": {
        "build": "examples.reviews.model:build",
        "build_args": {"hidden_size": 32, "layers": 1},
    },
    "prompts": {"function": "examples.reviews.grammar:prompts", "per_round": 6},
    "sampling": {"engine": "transformers", "max_tokens": 8, "samples_per_prompt": 2},
    "judge": {"function": "draws_judge:score"},
    "pairs": {"truncated": "keep"},
    "training": {"pairs_per_step": 4},
    "audit": {"allow": ["truncated", "length_skew"]},
    "evaluation": {"gate_prompts": 6, "test_prompts": 6, "bootstrap_resamples": 100},
}


def arm(name: str, *rounds: tuple[int, int, float]) -> Arm:
    """(tokens, pairs, measure) of each round, of one prompt for 10 tokens."""
    return Arm(name, 0, 0.2, [Round(t // 10, t, pairs, value, 0.1) for t, pairs, value in rounds])


def test_arms_are_compared_at_the_tokens_of_the_one_that_sampled_fewest() -> None:
    first = arm("uniform", (1000, 40, 0.3), (1000, 40, 0.5))
    second = arm("until", (500, 40, 0.4), (1000, 80, 0.6))
    assert [first.measure_at(n) for n in (0, 500, 1000, 1500, 2000, 9000)] == pytest.approx(
        [0.2, 0.25, 0.3, 0.4, 0.5, 0.5]
    )
    # 80 pairs for 2,000 tokens and 120 for 1,500: 40 and 80 per 1,000.
    _, _, one, other = table([first, second], "score_mean")
    assert one == "| uniform | 200 | 2,000 | 80 | 40.00 | 1.00 | 0.500 | 0.400 | 10.0% |"
    assert other == "| until | 150 | 1,500 | 120 | 80.00 | 2.00 | 0.600 | 0.600 | 10.0% |"


@pytest.mark.parametrize("name", ARMS)
def test_arms_are_configs_that_load(name: str) -> None:
    options = parse([str(CONFIG), "--until", "100"])
    config = load_config(CONFIG, overrides_of(name, 1, options))
    assert config.seed == 1
    assert (config.sampling.until_pairs == 100) == (name == "until")


def test_a_campaign_that_draws_until_it_has_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "draws_judge.py").write_text(JUDGE)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    wanted = ["--arms", "until", "--until", "6", "--measure", "score_mean", "--folder", "made"]
    command = ["draws", "tiny.yaml", *wanted, "--seeds", "0", "--json", "found.json"]
    budget = ["--set", f"sampling.budget_tokens={12 * 2 * 8}"]
    monkeypatch.setattr(sys, "argv", [*command, *budget])
    main()
    [found] = json.loads((tmp_path / "found.json").read_text())["arms"]
    assert found["name"] == "until" and "| until |" in capsys.readouterr().out

    layout = Layout(tmp_path / "made" / "seed-0")
    rows = pd.read_parquet(layout.metrics).to_dict("records")
    for row, read in zip(rows, found["rounds"], strict=True):
        number = row["round"]
        prompts = current_artifact(layout, number, "prompts")
        assert prompts is not None
        facts = prompts.entry.facts
        assert (row["prompts"], read["tokens"]) == (facts["drawn"], facts["sampled_tokens"])
        assert row["pairs"] == facts["pairs"] and row["tokens_per_second"] > 0
        assert ("few_pairs" in json.loads(row["warnings"])) == (facts["pairs"] < 6)
        lost = json.loads(row["dropped"])
        assert lost["margin_too_small"] == row["prompts"] - row["pairs"], "each counted once"
