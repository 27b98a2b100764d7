"""Ratchet's side: `python -m benchmarks.dpo_round.ratchet_side FOLDER CONFIG_JSON`."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.dpo_round import side, workload
from dpo_core.config import TrainingConfig
from dpo_core.training.jobs import DpoJob
from dpo_core.training.loop import train
from dpo_core.training.metrics.curve_recorder import CurveRecorder
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.choose_path import choose_path
from dpo_core.training.passes.token_budget import token_budget
from dpo_core.training.policy_in_training import load_optimiser, load_policy
from dpo_core.training.processes.team import ALONE
from dpo_core.training.reference.reference_logps import reference_pass
from dpo_core.training.round import Round
from dpo_core.training.runtime import prepare


def run(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Reference pass and training of one round, as train_round does them."""
    side.warm_up()
    config = TrainingConfig(
        **{
            "beta": workload.BETA,
            "learning_rate": workload.LEARNING_RATE,
            "pairs_per_step": workload.PAIRS_PER_STEP,
            "schedule": "linear",
            "compute_dtype": "float32",
            **options,
        }
    )
    found = [_round(_job(folder, model, config)) for model in side.models(folder)]
    return found[-1]


def _job(folder: Path, model: Path, config: TrainingConfig) -> DpoJob:
    unused = folder / "unused"
    return DpoJob(
        policy_dir=model,
        preferences=folder / "preferences.parquet",
        completions=folder / "completions.parquet",
        out_dir=unused,
        curve_path=unused,
        reference_logps_path=unused,
        config=config,
        seed=workload.SEED,
        threads=torch.get_num_threads(),
    )


def _round(job: DpoJob) -> dict[str, Any]:
    config = job.config
    pairs = load_pairs(job.preferences, job.completions, scratch=job.policy_dir.parent)
    runtime = prepare(job.threads, job.seed, config.compute_dtype)
    policy = load_policy(job, runtime, ALONE)
    result: dict[str, Any] = {}
    with side.memory_added(result), side.timed(result):
        path, why = choose_path(policy.model, pairs, config, runtime)
        budget = token_budget(config, runtime, job.policy_dir)
        round = Round(config, job.seed, runtime, policy.model, path, budget, lambda *_: None)
        reference, _ = reference_pass(round, pairs)
        optimiser = load_optimiser(job, policy)
        steps = train(round, pairs, reference, optimiser, lambda *_: None, starts_at_reference=True)
        rows = CurveRecorder(round).rows(steps)
        result["losses"] = [row["loss"] for row in rows]
    return {
        **result,
        "path": path.name,
        "why_not_fast": why,
        "micro_batch_tokens": budget,
        "peak_memory_gib": runtime.peak_memory_gib(),
    }


if __name__ == "__main__":
    side.show(run(Path(sys.argv[1]), json.loads(sys.argv[2])))
