"""The policy that a round trains, its optimiser, and how both are loaded and written."""

from dataclasses import dataclass
from typing import Any

import torch

from dpo_core.training.gradient_checkpointing import checkpoint_layers
from dpo_core.training.jobs import DpoJob
from dpo_core.training.lora import adapt, save_merged
from dpo_core.training.optimiser import make_optimiser
from dpo_core.training.optimiser_state import load_optimiser_state, save_optimiser_state
from dpo_core.training.runtime import Runtime, load_master, load_tokenizer, save_policy


@dataclass(frozen=True)
class PolicyInTraining:
    """model: what passes go through. adapted: peft's view of it, for a round with LoRA."""

    model: Any
    adapted: Any | None


def load_policy(job: DpoJob, runtime: Runtime) -> PolicyInTraining:
    model = load_master(job.policy_dir, runtime.device)
    lora = job.config.lora
    adapted = adapt(model, lora, job.seed, runtime.compute_dtype) if lora is not None else None
    if job.config.gradient_checkpointing:
        checkpoint_layers(model)
    return PolicyInTraining(model, adapted)


def load_optimiser(job: DpoJob, policy: PolicyInTraining) -> torch.optim.Optimizer:
    """AdamW, fresh or as an earlier round left it."""
    config = job.config
    optimiser = make_optimiser(policy.model.parameters(), config.learning_rate, config.weight_decay)
    if job.optimiser_from is not None:
        load_optimiser_state(policy.model, optimiser, job.optimiser_from)
    return optimiser


def save_trained(job: DpoJob, policy: PolicyInTraining, optimiser: torch.optim.Optimizer) -> None:
    """Write what the round leaves: full weights, and adapters and AdamW's state where asked for."""
    if job.optimiser_to is not None:
        save_optimiser_state(policy.model, optimiser, job.optimiser_to)
    if policy.adapted is None:
        save_policy(policy.model, load_tokenizer(job.policy_dir), job.out_dir)
    else:
        save_merged(policy.adapted, job.policy_dir, job.out_dir, job.adapter_dir)
