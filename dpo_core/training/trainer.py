"""One DPO round: from a policy and preferences to the next policy."""

import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from dpo_core.training.metrics.early_warnings import EarlyWarning, Watch
from dpo_core.training.metrics.peak_flops import device_name, peak_flops
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.policy_in_training import load_optimiser, save_trained
from dpo_core.training.processes.team import ALONE, Team
from dpo_core.training.reference.cache import reference_rows
from dpo_core.training.results import CurveSummary, DpoResult
from dpo_core.training.round import Round, RoundSetting
from dpo_core.training.round_start import RoundStart, prepare_round
from dpo_core.training.runtime import VERSIONS, prepare


def train_round(job: DpoJob, report: Report, team: Team = ALONE) -> DpoResult:
    """Train the policy of `job` on its preferences.

    A round resumes from its checkpoint in `job.checkpoints`. A collective call for the processes of
    a team, of which the leader writes, reports and returns the result.

    Returns:
        Facts of the round; each pair was measured when it was trained on. Empty for all but the
        leader.

    Raises:
        InvariantViolated: the policy differs from a reference of the same weights at the first
            step, other weights sampled the pairs, or a loss or gradient is not finite.
        RatchetError: there are no pairs. BadInput: a pair cannot be trained on.
        Interrupted: SIGTERM requested a stop.
    """
    pairs = load_pairs(job.preferences, job.completions, scratch=job.curve_path.parent)
    check_loss(job.config)
    check_labels(pairs, job.config.loss)
    runtime = prepare(max(1, job.threads // team.local_size), job.seed, job.config.compute_dtype)

    started = time.monotonic()
    setting = RoundSetting(job, pairs, runtime, report, team)
    start = prepare_round(setting)
    policy, progress = start.policy, start.progress
    rows = reference_rows(progress.plain_sums, start.reference_id or "")
    _write(team, job.reference_logps_path, rows, REFERENCE_LOGPS)
    optimiser = load_optimiser(job, policy)
    if start.checkpoint is not None:
        read_tensors(start.checkpoint, policy.model, optimiser)
    trained_from = time.monotonic()
    peak_of = device_name(runtime.device, runtime.compute_dtype)
    peak = _peak_flops(start.round, job.known_peaks.get(peak_of))
    summary, warnings = _train(job, start, pairs, optimiser, peak)
    ended = time.monotonic()

    save_trained(job, policy, optimiser, team)
    if not team.leads:
        return DpoResult()
    if job.checkpoints is not None:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    return DpoResult(
        **progress.start.warned(warnings).as_json(),
        **summary.as_json(),
        **runtime.facts().as_json(),
        policy=policy_id(job.out_dir),
        reference_policy=start.reference_id,
        pairs=len(pairs),
        resumed_from_step=progress.steps,
        processes=team.size,
        path=start.round.path.name,
        micro_batch_tokens=setting.budget,
        why_not_fast=start.why_not_fast,
        trained_parameters=sum(p.numel() for p in policy.model.parameters() if p.requires_grad),
        peak_of=peak_of,
        peak_flops=peak,
        seconds_reference=trained_from - started,
        seconds_steps=ended - trained_from,
        versions=VERSIONS,
    )


def _train(
    job: DpoJob,
    start: RoundStart,
    pairs: Sequence[TrainingPair],
    optimiser: torch.optim.Optimizer,
    peak: float | None,
) -> tuple[CurveSummary, list[EarlyWarning]]:
    """Run the remaining steps, saving checkpoints; returns the summary of the whole round, and
    its warnings."""
    round, progress = start.round, start.progress
    recorder = CurveRecorder(round, peak, progress.curve)
    watch = Watch(job.config, round.steps(pairs))

    def save(steps: int) -> None:
        assert job.checkpoints is not None, "without a folder nothing is saved"
        now = replace(progress, steps=steps, curve=recorder.so_far)
        save_checkpoint(job.checkpoints, now, round.model, optimiser, round.team)

    every = job.config.checkpoint_every
    with Keeper(job.checkpoints, every, save, round.team, saved=progress.steps) as keeper:
        steps = train(
            round,
            pairs,
            progress.reference if job.config.has_reference else None,
            optimiser,
            keeper.between,
            done=progress.steps,
            starts_at_reference=start.at_reference,
        )
        rows = recorder.rows(steps)
        if round.team.leads:
            rows = record_scalars(watch.over(rows), job.events_dir, "step", "training")
        _write(round.team, job.curve_path, rows, DPO_CURVE)
    return recorder.summary(), watch.warnings


def _peak_flops(round: Round, known: float | None) -> float | None:
    """The device's peak, from the leader only: other processes may share its processors.

    known: what an earlier round measured. Its MFU and this one's are of the same peak.
    """
    runtime = round.runtime
    if not round.team.leads:
        return None
    return known or peak_flops(runtime.device, runtime.compute_dtype)


def _write(team: Team, path: Path, rows: Iterable[Mapping[str, object]], schema: pa.Schema) -> None:
    """Consume the rows in all processes, since computing them is collective; the leader writes."""
    if team.leads:
        write_rows(path, rows, schema)
    else:
        for _ in rows:
            pass
