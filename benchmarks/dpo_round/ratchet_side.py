"""Ratchet's side: `python -m benchmarks.dpo_round.ratchet_side FOLDER CONFIG_JSON`."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.dpo_round import side, workload
from dpo_core.config import TrainingConfig
from dpo_core.training.jobs import DpoJob
from dpo_core.training.loop import train
from dpo_core.training.optimiser import make_optimiser
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.choose_path import choose_path
from dpo_core.training.passes.token_budget import token_budget
from dpo_core.training.reference.reference_logps import reference_pass
from dpo_core.training.round import Round
from dpo_core.training.runtime import load_master, prepare
from dpo_core.training.telling.telling import Telling


def run(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Reference pass and training of one round, as train_round does them."""
    side.warm_up()
    config = TrainingConfig(
        beta=workload.BETA,
        learning_rate=workload.LEARNING_RATE,
        pairs_per_step=workload.PAIRS_PER_STEP,
        schedule="linear",
        compute_dtype="float32",
        **options,
    )
    unused = folder / "unused"
    job = DpoJob(
        policy_dir=folder / "model",
        preferences=folder / "preferences.parquet",
        completions=folder / "completions.parquet",
        out_dir=unused,
        curve_path=unused,
        reference_logps_path=unused,
        config=config,
        seed=workload.SEED,
        threads=side.THREADS,
    )
    pairs = load_pairs(job.preferences, job.completions, scratch=folder)
    runtime = prepare(job.threads, job.seed, config.compute_dtype)
    model = load_master(job.policy_dir, runtime.device)
    result: dict[str, Any] = {}
    with side.measured(result):
        path, _ = choose_path(model, pairs, config, runtime)
        budget = token_budget(config, runtime, job.policy_dir)
        round = Round(config, job.seed, runtime, model, path, budget, lambda *_: None)
        reference, _ = reference_pass(round, pairs)
        optimiser = make_optimiser(model.parameters(), config.learning_rate)
        steps = train(round, pairs, reference, optimiser, lambda *_: None, starts_at_reference=True)
        rows = Telling(round).rows(steps)
        result["losses"] = [row["loss"] for row in rows]
    return {**result, "path": path.name}


if __name__ == "__main__":
    side.show(run(Path(sys.argv[1]), json.loads(sys.argv[2])))
