"""The sweep over lengths and ratios: what it asks for, and what it would object to."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dpo_round import figures, sweep, workload

TINY = workload.Model("llama", 2, 2, 512, tied=False, pairs=16, hidden=64, intermediate=96)


def test_lengths_are_divided_by_the_ratio() -> None:
    assert [sweep.split(256, ratio) for ratio in ("4:1", "1:1", "1:4")] == [
        (205, 51),
        (128, 128),
        (51, 205),
    ]


def test_a_ratio_is_two_numbers() -> None:
    with pytest.raises(SystemExit, match="prompt:response, like 4:1, not '4'"):
        sweep.parse(["--ratios", "4"])


def _rows(seconds_power: float, memory_power: float) -> list[dict[str, Any]]:
    """Settings whose seconds per operation and added memory grow with powers of the tokens."""
    return [
        {
            "ratio": "1:1",
            "length": tokens,
            "tokens_per_pair": tokens,
            "gflop_per_pair": tokens,
            "ratchet": {
                "cpu_seconds_per_pair": tokens**seconds_power,
                "memory_mib": 300 + (tokens / 100) ** memory_power,
            },
        }
        for tokens in (4096, 256, 512, 1024, 2048)
    ]


@pytest.mark.parametrize(
    ("seconds_power", "memory_power", "time_growth", "memory_growth", "holds"),
    [
        (1, 1, 0, 0, True),
        (1.25, 1, 1, 0, False),  # 16 times the tokens, each operation twice as dear
        (1, 2, 0, 1, False),  # the last doubling adds four times what the one before did
        (0.5, 0.5, -0.75, -0.293, True),
    ],
)
def test_growth_beyond_attentions_demand_fails(
    seconds_power: float,
    memory_power: float,
    time_growth: float,
    memory_growth: float,
    holds: bool,
) -> None:
    found = sweep.judge("1:1", _rows(seconds_power, memory_power))
    assert found["time_growth"] == pytest.approx(time_growth)
    assert found["memory_growth"] == pytest.approx(memory_growth, abs=1e-3)
    assert found["holds"] is holds


@pytest.mark.proof
def test_a_small_sweep_is_run_shown_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(workload.MODELS, "A", TINY)
    words = "--lengths 32 64 --ratios 4:1 1:4 --tokens 128"
    result = sweep.measure(sweep.parse(words.split()))
    sweep.show(result)
    shown = capsys.readouterr().out
    assert "4:1     32 tokens,   4 pairs" in shown and "memory per token added not known" in shown
    assert [row["tokens_per_pair"] for row in result["settings"]] == [38, 77, 58, 115]
    json.dumps(result)
    files = figures.draw(result["settings"], tmp_path / "figures")
    assert [path.name for path in files] == ["dpo-round-time.svg", "dpo-round-memory.svg"]
    for path in files:
        text = "".join(ET.fromstring(path.read_text()).itertext())
        assert "prompt:response" in text and "4:1" in text


def test_the_plot_compares_time_with_useful_operations() -> None:
    values = list(figures.times(_rows(1.25, 1)))
    useful = {v["length"]: v["value"] for v in values if v["kind"] == "useful operations"}
    measured = {v["length"]: v["value"] for v in values if v["kind"] == "ratchet"}
    assert useful[256] == measured[256] and useful[4096] == pytest.approx(measured[4096] / 2)
