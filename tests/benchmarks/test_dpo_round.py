"""The DPO round's benchmark at a tiny size: both sides train on the same, step by step."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dpo_round import __main__ as dpo_round
from benchmarks.dpo_round import bfloat16, table, workload
from benchmarks.dpo_round.kinds import CPU, CPU_BFLOAT16
from benchmarks.dpo_round.runs import SETTINGS, needed, ratchet, trl

TINY = workload.Model("llama", 2, 2, 512, tied=False, pairs=16, hidden=64, intermediate=96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("round")
    workload.build(TINY, place / "model")
    chosen = random.Random(0)
    lengths = [workload.usual_lengths(chosen) for _ in range(TINY.pairs)]
    workload.write(place, list(workload.pairs(TINY.vocabulary, lengths)))
    return place


@pytest.mark.parametrize(
    "setting",
    [
        "batch 8",
        pytest.param("batch 1 x 8, completion rows, allocator", marks=pytest.mark.proof),
    ],
)
def test_both_sides_have_the_same_losses(folder: Path, setting: str) -> None:
    ours = ratchet(folder, "{}")
    assert ours["path"] == "fast" and len(ours["losses"]) == 2
    theirs = trl(folder, SETTINGS[setting])
    assert ours["losses"] == pytest.approx(theirs["losses"], rel=1e-4)
    assert theirs["cpu_seconds"] > 0 and theirs["memory_mib"] > 0


@pytest.mark.proof
def test_both_sides_have_the_same_losses_in_bfloat16(folder: Path) -> None:
    model = replace(TINY, training={"compute_dtype": "bfloat16", "learning_rate": 5e-3})
    ours = ratchet(folder, json.dumps(model.training))
    setting = bfloat16.SETTINGS["batch 4 x 2, completion rows, allocator"]
    theirs = trl(folder, {**setting, "training": model.training})
    assert ours["path"] == "fast" and theirs["flags"]["bf16"] and len(ours["losses"]) == 2
    assert ours["losses"][-1] < 0.693147 - 2 * CPU_BFLOAT16.loss_difference
    for mine, other in zip(ours["losses"], theirs["losses"], strict=True):
        assert CPU_BFLOAT16.difference(mine, other) < CPU_BFLOAT16.loss_difference


def test_useful_operations_count_the_prompt_once() -> None:
    whole = TINY.forward_flops(10, 5, 5)
    assert whole - TINY.forward_flops(10, 5, 0) < whole / 2
    assert TINY.forward_flops(0, 1, 0) == pytest.approx(
        2 * (2 * 64 * (64 + 32) + 3 * 64 * 96) * 2 + 4 * 64 * 2 + 2 * 64 * 512
    )


def test_result_has_the_promised_form() -> None:
    run = {"losses": [0.69, 0.5], "cpu_seconds": 2.0, "seconds": 2.0, "memory_mib": 100.0}
    ours = {**run, "path": "fast"}
    slow = {**run, "cpu_seconds": 8.0, "memory_mib": 400.0, "flags": {}}
    runs = {"ratchet": [ours], "trl_plain": [slow], "trl_strongest": [slow]}
    peak = {"gflops": 1.0, "data_sheet_gflops": None}
    result = dpo_round.compare(CPU, runs, {"batch 8": slow}, "batch 8", 16, 8)
    pair = (10, 5, 5)
    result |= dpo_round.shares(TINY, [pair], TINY.round_flops(*pair) / 0.5e9, peak)
    assert result["trl_plain"] == {"speedup": 4.0, "memory_ratio": 0.25}
    assert result["max_loss_diff"] == 0 and result["mfu"] == pytest.approx(0.5)
    table.show(CPU, "A", result)
    json.dumps(result)


def test_flags_are_shown_once_and_then_where_they_differ() -> None:
    run = {"cpu_seconds": 2.0, "seconds": 2.0, "memory_mib": 100.0}
    tried: dict[str, Any] = {"plain": {**run, "flags": {"beta": 0.1, "batch": 8}}}
    assert "beta=0.1, batch=8" in table.setting(CPU, "plain", tried, 16)
    tried["small"] = {**run, "flags": {"beta": 0.1, "batch": 1}}
    assert table.setting(CPU, "small", tried, 16).endswith("\n      batch=1")
    tried["missing"] = {"failed": "ImportError: no such package"}
    assert "left out: ImportError: no such package" in table.setting(CPU, "missing", tried, 16)
    with pytest.raises(SystemExit, match="no such package"):
        needed(tried["missing"])
