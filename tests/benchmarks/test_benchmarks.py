"""Benchmarks run at a tiny size and give figures of the promised form. No time is tested."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loop, pool, proof, sampling, scale
from benchmarks.measure import machine
from dpo_core.campaign.ledger import Entry

MACHINE = {"commit", "cpu", "cores", "memory_gib", "python", "torch", "load_average"}


def test_machine_says_what_figures_belong_to() -> None:
    assert set(machine()) >= MACHINE
    assert machine()["cores"] >= 1


def test_pool_reads_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = pool.measure(pool.parse(["--rows", "200", "400", "--count", "5"]))
    assert [(row["rows"], row["drawn"]) for row in result["pools"]] == [(200, 5), (400, 5)]
    assert all(row["peak_memory_mib"] > 10 and row["cpu_seconds"] >= 0 for row in result["pools"])
    assert isinstance(result["holds"], bool)
    pool.show(result)


@pytest.mark.proof
def test_scale_compares_the_same_files(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--prompts 8 --shards 4 --repeats 1 --hidden-size 128 --layers 1"
    options = scale.parse(words.split())
    engines = scale.measure_engines(options)
    assert engines["same_files"] and engines["shards"] == 4
    dispatched = scale.measure_dispatch(engines=8, shards=200, seconds=0.01)
    assert 0 < dispatched["busy_share"] <= 1
    scale.show({"engines": engines, "dispatch": dispatched})
    assert "two against one" in capsys.readouterr().out


@pytest.mark.proof
def test_sampling_compares_the_same_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--prompts 6 --memory-prompts --repeats 1 --samples 2 --max-tokens 4 --threads 1"
    options = sampling.parse([*words.split(), "--hidden-size", "128", "--layers", "1"])
    result = sampling.measure(options)
    [row] = result["throughput"]
    assert row["same_tokens"] and row["prompts"] == 6
    runs = [row[name] for name in ("pipeline", "raw", "raw_logprobs")]
    assert len({run["tokens"] for run in runs}) == 1
    assert all(run["seconds"] > 0 and run["cpu_seconds"] >= 0 for run in runs)
    sampling.show(result)
    assert "pipeline / raw" in capsys.readouterr().out
    json.dumps(result)


def test_loop_splits_seconds_by_kind_of_work() -> None:
    entries = [
        Entry(0, "base", "f", facts={"seconds_start": 3.0}, seconds=13.0),
        Entry(1, "prompts", "f", seconds=0.5),
        Entry(1, "completions", "f", facts={"seconds_start": 8.0}, seconds=10.0),
        Entry(1, "scores", "f", seconds=0.25),
    ]
    assert loop.by_kind(entries) == {
        "starting processes": 11.0,
        "warm start": 10.0,
        "sampling": 2.0,
        "judging": 0.25,
    }
    assert loop.start_by_round(entries) == [3.0, 8.0]


def test_loop_arguments() -> None:
    options = loop.parse(["--set", "rounds=1", "--set", "seed=2", "--keep-worker-steps"])
    assert (options.overrides, options.keep_worker_steps) == (["rounds=1", "seed=2"], True)
    assert options.config.exists()


# ── proof ────────────────────────────────────────────────────────────────────────────────────────


def demo_rows(rates: list[float], accepted: float = 0.95) -> list[dict[str, Any]]:
    return [
        {
            "round": number,
            "win_rate_base": rate,
            "win_rate_base_low": rate - 0.04,
            "win_rate_base_high": rate + 0.04,
            "measure_accepted": accepted,
            "measure_accepted_base": 0.96,
            "test_prompts": 512,
            "kl_base_nats": 0.5,
            "seconds_round": 12.0,
        }
        for number, rate in enumerate(rates, 1)
    ]


@pytest.mark.parametrize(
    ("rows", "seconds", "failing"),
    [
        (demo_rows([0.63, 0.71, 0.78]), 90.0, []),
        (demo_rows([0.63, 0.62, 0.78]), 90.0, ["rises every round"]),
        (demo_rows([0.49, 0.71, 0.78]), 90.0, ["rises every round"]),
        (demo_rows([0.63, 0.71, 0.74]), 90.0, ["ends at 0.75"]),
        (demo_rows([0.60, 0.65, 0.70]), 90.0, ["ends at 0.75", "lies above 0.68"]),
        (demo_rows([0.63, 0.71, 0.78], accepted=0.93), 90.0, ["accepted share"]),
        (demo_rows([0.63, 0.71, 0.78]), 250.0, ["at most 4 minutes"]),
    ],
)
def test_demo_checks(rows: list[dict[str, Any]], seconds: float, failing: list[str]) -> None:
    part = proof.Part("demo", "")
    proof.check_demo(part, 0, rows, seconds)
    found = [check.what for check in part.checks if not check.holds]
    assert len(found) == len(failing)
    assert all(words in what for words, what in zip(failing, found, strict=True))


def test_page_names_what_failed() -> None:
    part = proof.Part("Demo", "ratchet run x", ["| a |"])
    part.check("it rises", True, "0.6 → 0.7")
    part.check("it is fast", False, "300 s")
    text = proof.page([part], {"cpu": "abacus"}, "make proof", "2026-01-01")
    assert "1 of 2 checks hold" in text
    assert "- **failed**: it is fast: 300 s" in text
    assert "| it rises | 0.6 → 0.7 | holds |" in text and "| cpu | abacus |" in text


def test_proof_writes_its_page_and_fails_without_gsm8k(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "page.md"
    monkeypatch.delenv("RATCHET_GSM8K_DIR", raising=False)
    words = ["proof", "--only", "gsm8k,pool", "--pool-args", "--rows 100 200", "--out", str(out)]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        proof.main()
    assert ended.value.code == 1
    text = out.read_text()
    assert "- **failed**: GSM8K's train.jsonl is there" in text
    assert "python -m benchmarks.pool --rows 100 200" in text
