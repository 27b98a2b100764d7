"""How fast this device trains and samples, at real sizes; a dry run has tiny ones."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks.dpo_round import ceiling, gpu, ratchet_side, runs, side, workload
from benchmarks.dpo_round.__main__ import shares
from benchmarks.dpo_round.kinds import CUDA
from benchmarks.gpu.results import Bench
from benchmarks.gpu.rounds import TINY
from dpo_core.training.checks import SAMPLING_TOLERANCE
from generation.config import SamplingConfig
from generation.engine import SampleRequest
from generation.transformers_engine import TransformersEngine

_PEERS = {"TRL's defaults": gpu.DEFAULTS, "TRL's fastest": "reference before in batches of 32"}


def round_of_half_a_billion(bench: Bench) -> None:
    dpo_round(bench, "0.5B")


def round_of_seven_billion(bench: Bench) -> None:
    dpo_round(bench, "7B")


def dpo_round(bench: Bench, name: str) -> None:
    """A round of ours, then the same by TRL where that can be run, else by the plain pass."""
    model, lengths = _model(bench, name), _lengths(bench, name)
    _build(bench, model)
    workload.write(bench.folder, list(workload.pairs(model.vocabulary, lengths)))
    ours = ratchet_side.run(bench.folder, model.training)
    _tell(bench, "fast pass", ours, len(lengths))
    bench.takes_fast_pass(ours["path"], ours["why_not_fast"])
    found = shares(model, lengths, ours[_clock(bench)], _ceiling(bench))
    bench.figure("MFU, of the fastest product measured", 100 * (found["mfu"] or 0), "%")
    if (sheet := found["mfu_data_sheet"]) is not None:
        bench.figure("MFU, of the data sheet", 100 * sheet, "%")
    if not _against_trl(bench, model, ours, len(lengths)):
        plain = ratchet_side.run(bench.folder, {**model.training, "path": "plain"})
        _against(bench, "the plain pass", ours, plain, len(lengths))


def _against_trl(bench: Bench, model: workload.Model, ours: Mapping[str, Any], pairs: int) -> bool:
    """Whether there was a run of TRL's to compare with."""
    if find_spec("trl") is None:
        return False
    bench.settle()  # TRL has a process of its own, which needs the memory
    compared = 0
    for peer, setting in _PEERS.items():
        with bench.trying(peer):
            settings = {**gpu.SETTINGS[setting], "training": model.training}
            theirs = runs.trl(bench.folder, settings, _environment(bench))
            if "failed" in theirs:
                raise RuntimeError(theirs["failed"])
            _against(bench, peer, ours, theirs, pairs)
            compared += 1
    return compared > 0


def _model(bench: Bench, name: str) -> workload.Model:
    model = gpu.MODELS[name]
    if not bench.tiny:
        return model
    return replace(TINY, training={**model.training, "learning_rate": 1e-2})


def _lengths(bench: Bench, name: str) -> list[workload.Lengths]:
    chosen, count = random.Random(0), _model(bench, name).pairs
    found = [workload.long_lengths(chosen) for _ in range(count)]
    if bench.tiny:
        found = [(prompt // 32, better // 16, worse // 16) for prompt, better, worse in found]
    return found


def _build(bench: Bench, model: workload.Model) -> None:
    """With a model of one layer beside it, by which kernels are compiled before the clock."""
    workload.build(model, bench.folder / "model", bench.device)
    workload.build(replace(model, layers=1), bench.folder / "warm", bench.device)


def _ceiling(bench: Bench) -> Mapping[str, Any]:
    if not bench.tiny:
        found = ceiling.of_this_machine(torch.bfloat16)
        bench.figure("fastest bfloat16 product", found["gflops"] / 1e3, "TFLOP/s")
        return found
    gflops = ceiling.best_gflops([torch.matmul], [64], torch.device("cpu"), torch.float32)
    return {"gflops": gflops, "data_sheet_gflops": None}


def _clock(bench: Bench) -> str:
    return "cpu_seconds" if bench.tiny else CUDA.clock


def _environment(bench: Bench) -> Mapping[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ""} if bench.tiny else CUDA.environment


def _tell(bench: Bench, what: str, run: Mapping[str, Any], pairs: int) -> None:
    bench.figure(f"{what}: pairs", pairs / run[_clock(bench)], "pairs/s")
    bench.figure(f"{what}: memory that the round adds", run["memory_mib"] / 1024, "GiB")
    if "peak_memory_gib" in run:
        bench.figure(f"{what}: peak memory, weights included", run["peak_memory_gib"], "GiB")


def _against(
    bench: Bench, peer: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], pairs: int
) -> None:
    _tell(bench, peer, theirs, pairs)
    losses = zip(ours["losses"], theirs["losses"], strict=True)
    far = max(CUDA.difference(one, other) for one, other in losses)
    bench.at_most(f"losses, against {peer}", far, CUDA.loss_difference)
    clock = _clock(bench)
    bench.figure(f"as fast as {peer}", theirs[clock] / ours[clock], "times")


# ── sampling ─────────────────────────────────────────────────────────────────────────────────────


def sampling(bench: Bench) -> None:
    """Tokens per second, and whether the log-probs of sampling are those of scoring."""
    model = _model(bench, "0.5B")
    workload.build(model, bench.folder / "model", bench.device)
    prompts, tokens = (4, 8) if bench.tiny else (128, 128)
    config = SamplingConfig(engine="transformers", max_tokens=tokens)
    engine = TransformersEngine(config, bench.folder / "model")
    chosen = random.Random(0)
    ids = [chosen.choices(range(4, model.vocabulary), k=32) for _ in range(prompts)]
    requests = [SampleRequest(prompt, 1000 * number, 1) for number, prompt in enumerate(ids)]
    engine.sample(requests[:2], lambda _: None)
    timing: dict[str, Any] = {}
    with side.timed(timing):
        [*samples] = (one for [one] in engine.sample(requests, lambda _: None))
    counts = [len(sample.token_ids) for sample in samples]
    bench.figure("sampled", sum(counts) / timing["seconds"], "tokens/s")
    with side.timed(timing):
        scored = engine.logps(ids, [sample.token_ids for sample in samples])
    bench.figure("scored", sum(counts) / timing["seconds"], "tokens/s")
    gaps = [abs(sum(s.token_logps) - logp) for s, logp in zip(samples, scored, strict=True)]
    dtype = getattr(torch, config.dtype_on(bench.device))
    bound = SAMPLING_TOLERANCE[dtype]
    bench.at_most("log-probs, nats per token", _mean_gap(gaps, counts), bound)


def _mean_gap(gaps: Sequence[float], counts: Sequence[int]) -> float:
    return sum(gaps) / sum(counts)
