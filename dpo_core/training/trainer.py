"""One DPO round: the reference is the policy as it was before the first step."""

import time
from typing import Any

import torch

from dpo_core.children import Report
from dpo_core.hashing import weights_id
from dpo_core.tables import write_rows
from dpo_core.training.checks import (
    SAMPLING_TOLERANCE,
    check_labels,
    check_sampled_by_reference,
    sampling_gap,
)
from dpo_core.training.choose_path import choose_path
from dpo_core.training.curves import DPO_CURVE, REFERENCE_LOGPS
from dpo_core.training.gradient_checkpointing import checkpoint_layers
from dpo_core.training.jobs import DpoJob
from dpo_core.training.loop import train
from dpo_core.training.lora import adapt, save_merged
from dpo_core.training.optimiser import make_optimiser
from dpo_core.training.optimiser_state import load_optimiser_state, save_optimiser_state
from dpo_core.training.pair_files import load_pairs
from dpo_core.training.reference import reference_pass, reference_rows
from dpo_core.training.round import Round
from dpo_core.training.runtime import load_master, load_tokenizer, prepare, save_policy
from dpo_core.training.telling import Telling


def train_round(job: DpoJob, report: Report) -> dict[str, Any]:
    """Train the policy of `job` on its preferences; returns means over the last epoch.

    Every pair is measured when it is trained on. Raises InvariantViolated when the first step does
    not find the policy equal to its reference, or when a loss or gradient is not finite;
    RatchetError when there is nothing to train on.
    """
    pairs = load_pairs(job.preferences, job.completions, scratch=job.curve_path.parent)
    check_labels(pairs, job.config.loss)
    runtime = prepare(job.threads, job.seed, job.config.compute_dtype)
    model = load_master(job.policy_dir, runtime.device)
    reference_policy = weights_id(job.policy_dir)
    lora = job.config.lora
    adapted = adapt(model, lora, job.seed, runtime.compute_dtype) if lora is not None else None
    if job.config.gradient_checkpointing:
        checkpoint_layers(model)
    path, why_not_fast = choose_path(model, pairs, job.config, runtime)
    round = Round(job.config, job.seed, runtime, model, path, report)

    started = time.monotonic()
    reference, plain_sums = reference_pass(round, pairs)
    write_rows(
        job.reference_logps_path, reference_rows(plain_sums, reference_policy), REFERENCE_LOGPS
    )
    gap = sampling_gap(pairs, plain_sums)
    check_sampled_by_reference(gap, SAMPLING_TOLERANCE[runtime.compute_dtype])
    optimiser = _optimiser(job, model)
    trained_from = time.monotonic()
    told = Telling(job.config.beta)
    write_rows(job.curve_path, told.rows(train(round, pairs, reference, optimiser)), DPO_CURVE)
    ended = time.monotonic()

    if job.optimiser_to is not None:
        save_optimiser_state(model, optimiser, job.optimiser_to)
    if adapted is None:
        save_policy(model, load_tokenizer(job.policy_dir), job.out_dir)
    else:
        save_merged(adapted, job.policy_dir, job.out_dir, job.adapter_dir)
    return {
        **told.summary(),
        "policy": weights_id(job.out_dir),
        "reference_policy": reference_policy,
        "pairs": len(pairs),
        "path": path.name,
        "why_not_fast": why_not_fast,
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "sampling_gap": gap,
        "seconds_reference": trained_from - started,
        "seconds_steps": ended - trained_from,
        **runtime.facts(),
    }


def _optimiser(job: DpoJob, model: Any) -> torch.optim.Optimizer:
    """AdamW, fresh or as an earlier round left it."""
    config = job.config
    optimiser = make_optimiser(model.parameters(), config.learning_rate, config.weight_decay)
    if job.optimiser_from is not None:
        load_optimiser_state(model, optimiser, job.optimiser_from)
    return optimiser
