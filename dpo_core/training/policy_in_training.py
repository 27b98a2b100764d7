"""The policy that a round trains and its optimiser: loading and saving them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dpo_core.training.jobs import DpoJob
from dpo_core.training.lora import adapt, save_merged
from dpo_core.training.optimiser import make_optimiser
from dpo_core.training.optimiser_state import load_optimiser_state, save_optimiser_state
from dpo_core.training.passes.gradient_checkpointing import checkpoint_layers
from dpo_core.training.passes.pass_over_pairs import Enter
from dpo_core.training.processes.sharded import gather_weights, shard
from dpo_core.training.processes.team import Team
from dpo_core.training.runtime import Runtime, load_master, load_tokenizer, save_policy

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class PolicyInTraining:
    """A policy that is being trained.

    model: the model that passes go through. adapted: peft's view of it, with LoRA only.
    enter: gathers the weights of a sharded model; None for a model in one process.
    """

    model: Any
    adapted: Any | None
    enter: Enter | None


def load_policy(job: DpoJob, runtime: Runtime, team: Team) -> PolicyInTraining:
    """Load the policy. A collective call: each process loads all of it and keeps its shard."""
    model = _load(job.policy_dir, runtime, team)
    lora = job.config.lora
    adapted = adapt(model, lora, job.seed, runtime.compute_dtype) if lora is not None else None
    if job.config.gradient_checkpointing:
        checkpoint_layers(model)
    return PolicyInTraining(model, adapted, _shard_in_team(model, runtime, team))


def load_frozen(policy_dir: Path, runtime: Runtime, team: Team) -> tuple[Any, Enter | None]:
    """(a policy for log-probs only, its `enter`). A collective call, as `load_policy`."""
    model = _load(policy_dir, runtime, team)
    return model, _shard_in_team(model, runtime, team)


def _load(policy_dir: Path, runtime: Runtime, team: Team) -> Any:
    return load_master(policy_dir, runtime.device if team.size == 1 else _CPU)


def _shard_in_team(model: Any, runtime: Runtime, team: Team) -> Enter | None:
    return shard(model, team, runtime.device) if team.size > 1 else None


def load_optimiser(job: DpoJob, policy: PolicyInTraining) -> torch.optim.Optimizer:
    """AdamW, fresh or with the state of an earlier round."""
    config = job.config
    optimiser = make_optimiser(policy.model.parameters(), config.learning_rate, config.weight_decay)
    if job.optimiser_from is not None:
        load_optimiser_state(policy.model, optimiser, job.optimiser_from)
    return optimiser


def save_trained(
    job: DpoJob, policy: PolicyInTraining, optimiser: torch.optim.Optimizer, team: Team
) -> None:
    """Save full weights, and adapters and AdamW's state where the job asks for them.

    A collective call; the leader writes.
    """
    if job.optimiser_to is not None:
        save_optimiser_state(policy.model, optimiser, job.optimiser_to, writes=team.leads)
    if policy.adapted is not None:
        save_merged(policy.adapted, job.policy_dir, job.out_dir, job.adapter_dir, writes=team.leads)
        return
    model = policy.model if team.size == 1 else _gather_model(job, policy.model, team)
    if team.leads:
        save_policy(model, load_tokenizer(job.policy_dir), job.out_dir)


def _gather_model(job: DpoJob, model: Any, team: Team) -> Any:
    """The sharded model as a whole, for the leader; None for the others."""
    weights = gather_weights(model)
    if not team.leads:
        return None
    whole = load_master(job.policy_dir, _CPU)
    whole.load_state_dict(weights)
    return whole
