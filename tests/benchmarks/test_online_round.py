"""The online round's benchmark at a tiny size: both sides sample, judge and train on every pair."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.dpo_round.workload import Model
from benchmarks.online_round import __main__ as online_round
from benchmarks.online_round import judge, workload
from benchmarks.online_round.workload import Size
from dpo_core.records import Completion, Prompt

TINY = Model("llama", 2, 2, 512, tied=False, pairs=0, hidden=128, intermediate=192)
# Answers that end at once would be no pair for us: they have no text.
SIZE = Size(8, prompt_tokens=(8, 16), mean_answer=1000, max_tokens=12, pairs_per_step=4)
KEYS = {"cpu_seconds", "start_cpu_seconds", "sampling", "judging", "training", "other", "pairs"}


@pytest.mark.proof
def test_both_sides_train_on_every_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workload.prepare(tmp_path, TINY, SIZE)
    settings = {"batch": 2, "allocator": True}
    runs = {
        "ratchet": online_round.ratchet_run(tmp_path, SIZE, {}),
        "trl_tuned": online_round.trl_run(tmp_path, SIZE, settings),
    }
    for run in runs.values():
        assert set(run) >= KEYS
        assert run["pairs"] == SIZE.prompts
        assert SIZE.prompts < run["tokens"] <= 2 * SIZE.prompts * SIZE.max_tokens
        assert run["first_loss"] == pytest.approx(math.log(2), abs=1e-4)
        assert min(run[part] for part in ("sampling", "training", "start_cpu_seconds")) > 0
        parts = run["sampling"] + run["judging"] + run["training"] + run["other"]
        assert run["cpu_seconds"] == pytest.approx(parts)
    result = {
        "size": asdict(SIZE),
        "tried": {"batch 2": runs["trl_tuned"], "batch 4": {"fails": "ValueError: no"}},
        "strongest": {"trl_tuned": "batch 2"},
        **online_round.compare(runs),
    }
    online_round.show(result)
    shown = capsys.readouterr().out
    assert "times as fast as trl_tuned (batch 2)" in shown and "batch 4: fails: ValueError" in shown
    json.dumps(result)


def test_speedup_is_of_cpu_seconds_per_pair() -> None:
    runs = {
        "ratchet": {"cpu_seconds": 10.0, "start_cpu_seconds": 10.0, "pairs": 5.0},
        "trl_tuned": {"cpu_seconds": 60.0, "start_cpu_seconds": 20.0, "pairs": 10.0},
    }
    found = online_round.compare(runs)["trl_tuned"]  # 6 against 2; 8 against 4
    expected = {"speedup": 3.0, "speedup_with_start": 2.0, "holds": False}
    assert found == {**expected, "ways": {"ratchet": expected}}


def test_a_setting_under_which_trl_ends_is_never_the_strongest() -> None:
    tried = {"a": {"fails": "AttributeError"}, "b": {"cpu_seconds": 3.0}, "c": {"cpu_seconds": 2.0}}
    assert online_round.fastest(tried) == "c"


def test_both_sides_are_judged_by_one_rule() -> None:
    prompt = Prompt("p", text="w4")
    texts = ["w5 w7", "w9 w9", ""]
    completions = [Completion(str(n), prompt, text, "stop", 3) for n, text in enumerate(texts)]
    assert judge.score(completions) == judge.rewards(texts, prompts=[]) == [-6.0, -9.0, 0.0]
