"""The judge decides: what a scripted judge prefers is what the policy turns to."""

import json
from pathlib import Path
from statistics import mean, stdev

import yaml
from small_campaign import CONFIG, Campaign

from dpo_core.tables import read_rows

JUDGE = """
def longer(pairs):
    return [verdict(p.a.tokens - p.b.tokens) for p in pairs]

def shorter(pairs):
    return [verdict(p.b.tokens - p.a.tokens) for p in pairs]

def verdict(difference):
    return 'tie' if difference == 0 else 'a' if difference > 0 else 'b'
"""


def config(function: str) -> dict[str, object]:
    return {
        **CONFIG,
        "rounds": 1,
        "judge": {"kind": "rule", "function": f"length_judge:{function}", "gives": "verdict"},
        "pairs": {"strategy": "random"},
        "prompts": {**CONFIG["prompts"], "per_round": 96},
        "training": {**CONFIG["training"], "learning_rate": 2e-3},
        "evaluation": {**CONFIG["evaluation"], "samples_per_prompt": 4},
    }


def lengths(campaign: Campaign, number: int) -> list[int]:
    """Tokens of each held-out answer to a test prompt, cut at the limit as the policy's are."""
    held_out = read_rows(campaign.artifact(0, "held_out").path("prompts.parquet"))
    test = {row["prompt_id"] for row in held_out if row["split"] == "test"}
    rows = read_rows(campaign.artifact(number, "answers").path("completions.parquet"))
    return [len(row["token_ids"]) for row in rows if row["prompt_id"] in test]


def test_a_judge_that_prefers_the_longer_or_the_shorter_turns_length_that_way(
    tmp_path: Path,
) -> None:
    campaign = Campaign.create(tmp_path)
    (tmp_path / "length_judge.py").write_text(JUDGE, encoding="utf-8")
    found = {}
    for name in ("longer", "shorter"):  # in one folder: the base is made once
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(config(name)), encoding="utf-8")
        done = campaign.run()
        assert done.returncode == 0, done.stderr + done.stdout
        found[name] = lengths(campaign, 1)
        facts = campaign.artifact(1, "judgements").entry.facts["judges"]
        assert list(facts) == [f"rule:length_judge:{name}"]
        measured = facts[f"rule:length_judge:{name}"]
        assert measured["longer_win_rate"] == float(name == "longer")
        assert measured["position_bias"] == 0 and measured["self_consistency"] == 1
    base = lengths(campaign, 0)
    noise = stdev(base) * (2 / len(base)) ** 0.5  # of the difference of two means
    report = {"base": mean(base), **{name: mean(tokens) for name, tokens in found.items()}}
    print(f"mean tokens of {len(base)} held-out answers: {json.dumps(report)}, noise {noise:.2f}")
    assert report["longer"] > report["base"] + 4 * noise
    assert report["shorter"] < report["base"] - 4 * noise
