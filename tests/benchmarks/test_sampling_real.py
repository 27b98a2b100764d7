"""What the benchmark of sampling at a real size compares, without sampling anything."""

import json

import pytest

from benchmarks import sampling_real
from benchmarks.sampling_real import Run


def run(tokens: int, cpu_seconds: float) -> Run:
    return {"tokens": tokens, "cpu_seconds": cpu_seconds, "seconds": 9.0, "load_average": 1.0}


def test_shares_are_of_tokens_per_cpu_second(capsys: pytest.CaptureFixture[str]) -> None:
    turns = [  # 100, 80 and 200 tokens per CPU-second; then 90, 100 and 90
        {"pipeline": run(1000, 10), "raw_recorded": run(800, 10), "raw": run(1000, 5)},
        {"pipeline": run(900, 10), "raw_recorded": run(500, 5), "raw": run(1800, 20)},
    ]
    found = sampling_real.shares(turns)
    assert found["raw_recorded"]["shares"] == pytest.approx([1.25, 0.9])
    assert found["raw_recorded"]["median"] == pytest.approx(1.075)
    assert found["raw"]["shares"] == pytest.approx([0.5, 1.0])
    assert (found["raw_recorded"]["holds"], found["raw"]["holds"]) == (True, False)
    result = {"same_tokens": [True, False], "worker_start_seconds": 20.0, "shares": found}
    sampling_real.show(json.loads(json.dumps(result)))
    out = capsys.readouterr().out
    assert "in 1 of 2 turns" in out
    assert "pipeline / raw: 0.750 (0.500, 1.000); target 0.85: FAILS" in out


def test_turns_share_no_prompt() -> None:
    ids = [prompt.prompt_id for prompt in sampling_real.instructions()]
    assert len(set(ids)) == len(ids) > 6000
