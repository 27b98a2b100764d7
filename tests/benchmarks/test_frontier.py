"""The frontier's arms at a tiny size, and what its page says of results that are known."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.frontier import figure, page, verdicts
from benchmarks.frontier.__main__ import parse
from benchmarks.frontier.arms import ARMS, QUESTIONS
from benchmarks.frontier.judge import rewards, wrong_10, wrong_30, wrong_30_first
from benchmarks.frontier.run import RECIPE, Result, overrides_of, read_results, run_arm
from benchmarks.measure import machine
from dpo_core.records import Completion, Pair, Prompt
from flows.config import load_config

GOOD, BAD = "i loved the movie .", "i hated the movie ."
TINY = (
    "policy.build_args={hidden_size: 32, layers: 2}",
    "sft.steps=60",
    "sft.batch_size=32",
    "sampling.engine=transformers",
    "sampling.max_tokens=16",
    "prompts.per_round=8",
    "rounds=1",
    "judge={function: 'short:score'}",
    "evaluation={gate_prompts: 8, test_prompts: 8, bootstrap_resamples: 100}",
)
SHORT = "def score(completions):\n    return [-float(c.tokens) for c in completions]\n"


def row(number: int, win: float, kl: float, promoted: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"round": number, "promoted": promoted, "score_mean_base": -0.1}
    for name, middle in (("win_rate_base", win), ("score_mean", 2 * win - 1), ("kl_base_nats", kl)):
        found |= {name: middle, f"{name}_low": middle - 0.1, f"{name}_high": middle + 0.1}
    return found


def result(arm: str, seed: int, *rows: dict[str, Any], failed: str | None = None) -> Result:
    return Result(arm, seed, list(rows), failed, {"seconds": 60.0, "load_average": 1.0})


def pairs(count: int) -> list[Pair]:
    prompt = Prompt("p", text="the plot was very great and")
    good, bad = (Completion(text, prompt, text, "stop", 5) for text in (GOOD, BAD))
    return [Pair(str(number), good, bad) for number in range(count)]


def test_noise_turns_its_share_of_the_pairs_round_and_always_the_same() -> None:
    some = pairs(1500)  # a is always right: what is not "a" was turned round
    for voter, share in ((wrong_10, 0.1), (wrong_30, 0.3), (wrong_30_first, 0.3)):
        wrong = [verdict != "a" for verdict in voter(some)]
        assert sum(wrong) / 1500 == pytest.approx(share, abs=0.047)  # 4 standard errors
        assert wrong == [verdict != "b" for verdict in voter([p.swapped() for p in some])]
    together = zip(wrong_30(some), wrong_30_first(some), strict=True)
    both = sum(verdicts == ("b", "b") for verdicts in together)
    assert both / 1500 == pytest.approx(0.09, abs=0.03)  # voters err independently


def test_trl_is_rewarded_by_the_same_rule() -> None:
    prompt = "the plot was very great and"
    assert rewards([GOOD, BAD, "i loved"], prompts=[prompt] * 3) == [1.0, -1.0, -1.5]


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_arms_are_recipes_that_load(arm: Any) -> None:
    config = load_config(RECIPE, arm.sets)
    prompts = config.rounds * config.prompts.per_round
    assert (prompts, config.sampling.samples_per_prompt) == (3 * 512, 4)
    assert arm.labels in (prompts, 2 * prompts, 3 * prompts)


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_the_gate_is_the_one_that_the_arm_is_named_after(arm: Any) -> None:
    gate = load_config(RECIPE, overrides_of(arm, 0)).gate
    assert gate.use == ("lower" if arm.name.endswith("strict") else "estimate")
    assert gate.threshold == (0 if arm.name.endswith("ungated") else 0.5)


def test_questions_are_about_arms() -> None:
    named = {name for q in QUESTIONS for name in (q.against, q.simple, *q.arms)}
    assert named == set(ARMS)


def test_sentences_say_what_the_seeds_agree_on() -> None:
    results = [
        *(result("reset", seed, row(1, 0.6, 0.2), row(2, 0.8, 1.0)) for seed in (0, 1)),
        *(result("fixed", seed, row(1, win, 0.5)) for seed, win in ((0, 0.7), (1, 0.75))),
        *(result("ema", seed, row(1, win, 0.5)) for seed, win in ((0, 0.9), (1, 0.75))),
        *(result("offline", seed, row(1, 0.7, 0.5)) for seed in (0, 1)),
        *(result("ungated", seed, row(1, 0.6, 0.2), row(2, 0.8, 1.0)) for seed in (0, 1)),
        result("trl", 0, failed="no"),
    ]
    said = list(verdicts.sentences(results))
    [reference] = [line for line in said if "The reference" in line]
    assert "(by seed -0.100, -0.050), KL 0.50 against 1.00 nats: worse in each of 2" in reference
    # From (0.2, 0.6) to (1.0, 0.8), 0.5 nats lie at 0.6 + 0.2 * 0.3 / 0.8 = 0.675.
    assert "at equal KL +0.025, +0.075." in reference
    assert "(by seed +0.100, -0.050)" in reference and "the seeds disagree" in reference
    assert "The simple choice, `reset`, is not beaten." in reference
    [offline] = [line for line in said if "offline" in line]
    assert "`offline`, is beaten by `reset`" in offline
    [gate] = [line for line in said if "The gate.**" in line]
    assert "the same policies" in gate
    assert not any("trl" in line for line in said)


def test_nothing_is_said_at_equal_kl_where_the_other_was_not() -> None:
    other = {0: result("reset", 0, row(1, 0.6, 0.2), row(2, 0.5, 2.0), row(3, 0.8, 1.0))}
    for kl, expected in ((0.1, ()), (0.6, (0.0,)), (1.5, ())):  # half way: 0.7
        found = verdicts.difference({0: result("soft", 0, row(1, 0.7, kl))}, other)
        assert found is not None and found.at_equal_kl == pytest.approx(expected)


def test_an_arm_ends_with_the_policy_promoted_last() -> None:
    kept = result("reset", 0, row(1, 0.6, 0.2), row(2, 0.3, 9.0, promoted=False))
    assert verdicts.value(kept, "kl_base_nats") == 0.2
    assert list(verdicts.astray([kept, result("reset", 1, row(1, 0.6, 0.2))])) == [
        "- `reset`: seed 0, round 2: KL 9.00 nats, win rate 0.300; refused."
    ]
    far = result("ema", 0, row(1, 0.55, 1.3), row(2, 0.7, 1.0))
    [said] = verdicts.astray([far])
    assert "round 1: KL 1.30" in said and said.endswith("promoted.")
    none = result("reset", 0, row(1, 0.3, 9.0, promoted=False))
    found = [verdicts.value(none, n) for n in ("win_rate_base", "score_mean", "kl_base_nats")]
    assert found == [0.5, -0.1, 0.0]


def test_the_page_names_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    results = [
        result("reset", 0, row(1, 0.6, 0.2)),
        result("reset", 1, row(1, 0.7, 0.3)),
        result("trl", 0, failed="the disk is full"),
    ]
    out = tmp_path / "page.md"
    page.write_page(results, out, [0, 1])
    text = out.read_text()
    assert "`trl` with seed 0 ended early: the disk is full." in text
    assert "trl 1" in text and "reset 1," not in text.split("Not run yet")[1]
    assert "| **reset** |  | mean | 1,536 |  | **0.650** [0.600, 0.700] |" in text
    assert "| reset | reference reset | 0 | 1,536 | 1 | 0.600 [0.500, 0.700] |" in text
    assert (tmp_path / page.FIGURE).read_text().startswith("<svg")
    shown = figure.spec(results)["hconcat"]
    assert len(shown) == 3 and all(len(column["vconcat"]) == 2 for column in shown)


@pytest.mark.proof
def test_arms_run_at_a_tiny_size_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "short.py").write_text(SHORT)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["--arms", "offline,trl", "--seeds", "0", "--out", "none"]
    options = parse(words + [word for pair in TINY for word in ("--set", pair)])
    with (tmp_path / "out").open("w") as out:
        console = Console(file=out)
        for name in options.arms:
            run_arm(ARMS[name], 0, options.overrides, tmp_path / "runs", console)
        found = read_results(tmp_path / "runs")
        # 8 prompts of 4 answers are 32 answers: 16 prompts of 2 for TRL.
        assert [(r.arm, r.failed, len(r.rounds)) for r in found] == [
            ("offline", None, 1),
            ("trl", None, 1),
        ]
        assert found[0].rounds[0]["pairs"] <= 8 and found[1].rounds[0]["pairs"] == 16
        assert all(r.rounds[0]["kl_base_nats"] is not None for r in found)
        assert found[0].facts["commit"] == machine()["commit"]
        changed = json.loads((tmp_path / "runs/results/trl-0.json").read_text())
        changed["failed"] = "read and not run"
        (tmp_path / "runs/results/trl-0.json").write_text(json.dumps(changed))
        again = run_arm(ARMS["trl"], 0, options.overrides, tmp_path / "runs", console)
    assert again.failed == "read and not run"
