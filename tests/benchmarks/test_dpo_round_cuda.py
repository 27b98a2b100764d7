"""The GPU's side of the DPO round's benchmark, at a tiny size and, without a GPU, on the CPU."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.dpo_round import __main__ as dpo_round
from benchmarks.dpo_round import bfloat16, ceiling, gpu, table, workload
from benchmarks.dpo_round.kinds import CUDA, Kind
from benchmarks.dpo_round.runs import ratchet, trl
from dpo_core import processor
from dpo_core.config import LoraConfig
from dpo_core.training.lora import adapt
from dpo_core.training.metrics.pair_flops import PairFlops
from dpo_core.training.pairs.batching import TrainingPair

NO_GPU = {"OMP_NUM_THREADS": "1"}
if torch.cuda.is_available():
    NO_GPU["CUDA_VISIBLE_DEVICES"] = ""


def _tiny(name: str, **training: Any) -> workload.Model:
    model = gpu.MODELS[name]
    return replace(
        model,
        layers=2,
        key_value_heads=2,
        vocabulary=512,
        pairs=24,
        hidden=64,
        intermediate=96,
        heads=4,
        training={**model.training, **training},
    )


def _short(chosen: random.Random) -> workload.Lengths:
    """A quarter of the usual tokens."""
    prompt, better, worse = (tokens // 4 for tokens in workload.long_lengths(chosen))
    return prompt, better, worse


def _kind(device: str, model: workload.Model) -> Kind:
    """TRL's defaults, and a setting that it takes back."""
    defaults = gpu.SETTINGS[gpu.DEFAULTS]
    return replace(
        CUDA,
        device=device,
        models={"7B": model},
        lengths=_short,
        settings={
            gpu.DEFAULTS: defaults,
            "no padding": {**defaults, "flags": {"padding_free": True}},
        },
        environment=NO_GPU if device == "cpu" else CUDA.environment,
    )


@pytest.mark.proof
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_round_is_measured_and_compared(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    kind = _kind(device, _tiny("7B", learning_rate=2e-2))
    options = dpo_round.parse(["--device", "cuda", "--models", "7B", "--repeats", "1"])
    peak = {"gflops": 100.0, "data_sheet_gflops": 200.0}
    found = dpo_round.measure(kind, "7B", options, peak)
    table.show(kind, "7B", found)
    shown = capsys.readouterr().out
    assert found["path"] == "fast" and found["strongest"] == gpu.DEFAULTS
    assert found["max_loss_diff"] < CUDA.loss_difference
    assert found["mfu"] == pytest.approx(2 * found["mfu_data_sheet"])
    for peer in ("trl_plain", "trl_strongest"):
        assert found[peer]["speedup"] > 0 and found[peer]["memory_ratio"] > 0
    assert "gradient_checkpointing=True" in shown and "weights=bfloat16" in shown
    assert "left out: NotImplementedError: TRL 1.16.0 switches padding_free off" in shown
    assert "of the measured ceiling (floor 40%)" in shown and "of the data sheet's" in shown
    json.dumps(found)


@pytest.mark.parametrize(
    ("model", "setting", "flags", "bound"),
    [
        # In float32 equal losses say that both sides start from equal adapters.
        pytest.param(
            _tiny("7B", compute_dtype="float32", learning_rate=1e-2),
            "reference before in batches of 32",
            {"bf16": False},
            1e-4,
            marks=pytest.mark.proof,
            id="adapters",
        ),
        # TRL's defaults keep a second model for the reference.
        pytest.param(
            _tiny("0.5B", learning_rate=5e-3), gpu.DEFAULTS, {}, CUDA.loss_difference, id="full"
        ),
    ],
)
def test_both_sides_train_the_same(
    tmp_path: Path, model: workload.Model, setting: str, flags: dict[str, Any], bound: float
) -> None:
    workload.build(model, tmp_path / "model")
    workload.build(replace(model, layers=1), tmp_path / "warm")
    lengths = [_short(random.Random(number)) for number in range(model.pairs)]
    workload.write(tmp_path, list(workload.pairs(model.vocabulary, lengths)))
    ours = ratchet(tmp_path, json.dumps(model.training), NO_GPU)
    settings = gpu.SETTINGS[setting]
    flags = {**settings["flags"], **flags}
    theirs = trl(tmp_path, {**settings, "flags": flags, "training": model.training}, NO_GPU)
    assert ours["path"] == "fast" and len(ours["losses"]) == model.pairs / 8
    assert ours["losses"][0] == pytest.approx(0.693147, abs=1e-5)
    assert ours["losses"][-1] < 0.693147 - 2 * bound
    for mine, other in zip(ours["losses"], theirs["losses"], strict=True):
        assert CUDA.difference(mine, other) < bound


@pytest.mark.parametrize("name", list(gpu.MODELS))
def test_useful_operations_are_those_that_training_tells(name: str, tmp_path: Path) -> None:
    model = _tiny(name)
    workload.build(model, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    pair = TrainingPair("", [4] * 20, [4] * 5, [4] * 7)
    reference = PairFlops.from_model(loaded).forward(pair)
    if "lora" in model.training:
        adapt(loaded, LoraConfig(**model.training["lora"]), 0, torch.float32)
    expected = reference + PairFlops.from_model(loaded).step(pair)
    assert model.round_flops(20, 5, 7) == pytest.approx(expected)


def test_models_have_the_size_of_their_name() -> None:
    # Operations of one token that nobody sees: two per weight of the layers.
    # SmolLM2-135M has 134.5 M, of which 28.3 M are the table and 0.04 M are norms.
    for name, billions in {"0.5B": 0.44, "7B": 6.48, "C": 0.1062}.items():
        model = {**gpu.MODELS, **bfloat16.MODELS}[name]
        attention = 4 * model.hidden * model.layers
        assert model.forward_flops(1, 0, 0) - attention == pytest.approx(2e9 * billions, rel=0.01)


def test_prompts_are_at_least_as_long_as_responses() -> None:
    chosen = random.Random(0)
    for _ in range(200):
        prompt, better, worse = workload.long_lengths(chosen)
        assert prompt >= 512 >= max(better, worse) and min(better, worse) >= 32


def test_the_ceiling_is_measured_in_bfloat16() -> None:
    found = ceiling.best_gflops([torch.matmul], [64], torch.device("cpu"), torch.bfloat16)
    assert 1e-3 < found < 1e6


def test_a_cpu_without_bfloat16_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2\n")
    monkeypatch.setattr(processor, "_FACTS", tmp_path / "cpuinfo")
    assert dpo_round.main(["--device", "cpu-bfloat16"]) == 2
    assert "needs a CPU with AMX or AVX512-BF16" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert dpo_round.main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "--device cuda needs an NVIDIA GPU, and torch sees none here\n"
    )


def test_a_model_of_another_device_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dpo_round.parse(["--device", "cuda", "--models", "A"])
    assert "--device cuda measures 0.5B, 7B, not A" in capsys.readouterr().err
