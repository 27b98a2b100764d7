"""One DPO round: from a policy and preferences to the next policy."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from dpo_core.children import Report
from dpo_core.hashing import policy_id
from dpo_core.scalars import record_scalars
from dpo_core.tables import write_rows
from dpo_core.training.checkpoints.checkpoint import read_tensors, save_checkpoint
from dpo_core.training.checkpoints.keeper import Keeper
from dpo_core.training.checks import check_labels, check_loss
from dpo_core.training.jobs import DpoJob
from dpo_core.training.loop import train
from dpo_core.training.metrics.curve_recorder import CurveRecorder
from dpo_core.training.metrics.curves import DPO_CURVE, REFERENCE_LOGPS
from dpo_core.training.metrics.early_warnings import Watch
from dpo_core.training.metrics.peak_flops import peak_flops
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.policy_in_training import load_optimiser, save_trained
from dpo_core.training.processes.team import ALONE, Team
from dpo_core.training.reference.cache import reference_rows
from dpo_core.training.round import Round, RoundSetting
from dpo_core.training.round_start import RoundStart, prepare_round
from dpo_core.training.runtime import prepare


def train_round(job: DpoJob, report: Report, team: Team = ALONE) -> dict[str, Any]:
    """Train the policy of `job` on its preferences; returns means over the last epoch.

    Every pair is measured when it is trained on. A round goes on from what `job.checkpoints` holds
    of it. Called together by the processes of a team, of which the leader writes, reports and
    returns. Raises InvariantViolated when the first step does not find the policy equal to a
    reference of the same weights, when other weights sampled the pairs, or when a loss or gradient
    is not finite; RatchetError when there is nothing to train on; Interrupted when SIGTERM asked
    for a stop.
    """
    pairs = load_pairs(job.preferences, job.completions, scratch=job.curve_path.parent)
    check_loss(job.config)
    check_labels(pairs, job.config.loss)
    runtime = prepare(max(1, job.threads // team.beside), job.seed, job.config.compute_dtype)

    started = time.monotonic()
    setting = RoundSetting(job, pairs, runtime, report, team)
    start = prepare_round(setting)
    policy, progress = start.policy, start.progress
    rows = reference_rows(progress.plain_sums, start.compared_with or "")
    _write(team, job.reference_logps_path, rows, REFERENCE_LOGPS)
    optimiser = load_optimiser(job, policy)
    if start.checkpoint is not None:
        read_tensors(start.checkpoint, policy.model, optimiser)
    trained_from = time.monotonic()
    told = _steps(job, start, pairs, optimiser)
    ended = time.monotonic()

    save_trained(job, policy, optimiser, team)
    if not team.leads:
        return {}
    if job.checkpoints is not None:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    return {
        **progress.found,
        **told,
        "warnings": [*progress.found["warnings"], *told["warnings"]],
        "policy": policy_id(job.out_dir),
        "reference_policy": start.compared_with,
        "pairs": len(pairs),
        "resumed_from_step": progress.steps,
        "processes": team.size,
        "path": start.round.path.name,
        "micro_batch_tokens": setting.budget,
        "why_not_fast": start.why_not_fast,
        "trained_parameters": sum(p.numel() for p in policy.model.parameters() if p.requires_grad),
        "seconds_reference": trained_from - started,
        "seconds_steps": ended - trained_from,
        **runtime.facts(),
    }


def _steps(
    job: DpoJob, start: RoundStart, pairs: Sequence[TrainingPair], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Train what is left of the round, saving it now and then; what is told of all of it."""
    round, progress = start.round, start.progress
    told = CurveRecorder(round, _peak_flops(round))
    told.resume(progress.told)
    watch = Watch(job.config, round.steps(pairs))

    def keep(steps: int) -> None:
        assert job.checkpoints is not None, "a keeper without a folder keeps nothing"
        now = replace(progress, steps=steps, told=told.state())
        save_checkpoint(job.checkpoints, now, round.model, optimiser, round.team)

    every = job.config.checkpoint_every
    with Keeper(job.checkpoints, every, keep, round.team, saved=progress.steps) as keeper:
        steps = train(
            round,
            pairs,
            progress.reference if job.config.has_reference else None,
            optimiser,
            keeper.between,
            done=progress.steps,
            starts_at_reference=start.at_reference,
        )
        rows = told.rows(steps)
        if round.team.leads:
            rows = record_scalars(watch.over(rows), job.events_dir, "step", "training")
        _write(round.team, job.curve_path, rows, DPO_CURVE)
    return {**told.summary(), "warnings": watch.facts()}


def _peak_flops(round: Round) -> float | None:
    """Asked by the leader alone, for the others' processors are busy or the same."""
    runtime = round.runtime
    return peak_flops(runtime.device, runtime.compute_dtype) if round.team.leads else None


def _write(team: Team, path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """All take the rows, for they are made together; the leader writes them."""
    if team.leads:
        write_rows(path, rows, schema)
    else:
        for _ in rows:
            pass
