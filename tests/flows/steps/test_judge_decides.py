"""The judge decides: what a scripted judge prefers is what the policy turns to."""

import json
from statistics import mean, stdev

import yaml
from small_campaign import Campaign

from dpo_core.tables import read_rows

JUDGE = """
def longer(pairs):
    return [verdict(p.a.tokens - p.b.tokens) for p in pairs]

def shorter(pairs):
    return [verdict(p.b.tokens - p.a.tokens) for p in pairs]

def verdict(difference):
    return 'tie' if difference == 0 else 'a' if difference > 0 else 'b'
"""


def write_config(campaign: Campaign, function: str) -> None:
    path = campaign.folder / "small.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config |= {
        "rounds": 1,
        "judge": {"kind": "rule", "function": f"length_judge:{function}", "gives": "verdict"},
        "pairs": {"strategy": "random"},
        "prompts": {**config["prompts"], "per_round": 384},
        "training": {**config["training"], "learning_rate": 1e-3, "nll_weight": 0.5},
        "evaluation": {**config["evaluation"], "samples_per_prompt": 4},
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def lengths(campaign: Campaign, number: int) -> list[int]:
    """Tokens of each held-out answer to a test prompt, cut at the limit as the policy's are."""
    held_out = read_rows(campaign.artifact(0, "held_out").path("prompts.parquet"))
    test = {row["prompt_id"] for row in held_out if row["split"] == "test"}
    rows = read_rows(campaign.artifact(number, "answers").path("completions.parquet"))
    return [len(row["token_ids"]) for row in rows if row["prompt_id"] in test]


def test_a_judge_that_prefers_the_longer_or_the_shorter_turns_length_that_way(
    copy: Campaign,
) -> None:
    (copy.folder / "length_judge.py").write_text(JUDGE, encoding="utf-8")
    found = {}
    for name in ("longer", "shorter"):  # in one folder, from the same base
        write_config(copy, name)
        done = copy.run()
        assert done.returncode == 0, done.stderr + done.stdout
        found[name] = lengths(copy, 1)
        facts = copy.artifact(1, "judgements").entry.facts["judges"]
        assert list(facts) == [f"rule:length_judge:{name}"]
        measured = facts[f"rule:length_judge:{name}"]
        assert measured["longer_win_rate"] == float(name == "longer")
        assert measured["position_bias"] == 0 and measured["self_consistency"] == 1
    base = lengths(copy, 0)
    noise = stdev(base) * (2 / len(base)) ** 0.5  # of the difference of two means
    report = {"base": mean(base), **{name: mean(tokens) for name, tokens in found.items()}}
    print(f"mean tokens of {len(base)} held-out answers: {json.dumps(report)}, noise {noise:.2f}")
    assert report["longer"] > report["base"] + 4 * noise
    assert report["shorter"] < report["base"] - 4 * noise
