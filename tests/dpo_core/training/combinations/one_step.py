"""One optimiser step of the trainer itself on long pairs: its loss and its gradient."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dpo_core.config import TrainingConfig
from dpo_core.training.loop import train
from dpo_core.training.objective import ReferenceLogps
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes.choose_path import choose_path
from dpo_core.training.passes.pass_over_pairs import Enter
from dpo_core.training.processes.sharded import gather_tensor
from dpo_core.training.processes.team import ALONE, Team
from dpo_core.training.reference.reference_logps import reference_pass
from dpo_core.training.reference.sampled_logps import reference_from_sampling
from dpo_core.training.round import Round
from dpo_core.training.runtime import attention_for

from .cases import Case
from .families import CPU, LENGTHS, build, pairs_of

Model = tuple[Any, Enter | None]
"""A model, and what gives its weights where it is divided."""


class Kept(torch.optim.Optimizer):
    """Moves nothing, and keeps the gradient that it is given."""

    def __init__(self, model: Any) -> None:
        super().__init__(model.parameters(), {"lr": 0.0})
        self.gradient = torch.empty(0)

    def step(self, closure: Any = None) -> None:
        parts = [p for group in self.param_groups for p in group["params"]]
        zeros = (torch.zeros(p.shape) if p.grad is None else gather_tensor(p.grad) for p in parts)
        self.gradient = torch.cat([z.flatten() for z in zeros])


def one_step(
    case: Case,
    model: Model,
    other: Any,
    *,
    path: str,
    budget: int,
    seed: int = 0,
    team: Team = ALONE,
) -> tuple[str, float, Tensor]:
    """(path, loss, gradient) of the case; seed: the pairs' order. other: weights that a reference
    has which is not the policy."""
    config = TrainingConfig(**case.options(), path=path, max_grad_norm=1e9)  # type: ignore[arg-type]
    pairs = pairs_for(case)
    make = functools.partial(_round, config, pairs, budget, seed)
    round = make(*model, team)
    optimiser = Kept(round.model)
    at_reference = config.has_reference and config.reference == "reset"
    reference = _reference(round, pairs, None if at_reference else lambda: make(other, None, ALONE))
    [step] = train(
        round,
        pairs,
        reference,
        optimiser,
        lambda *_: None,
        starts_at_reference=at_reference,
    )
    loss = step.measured.means(config.beta)["loss"]
    assert loss is not None
    return round.path.name, loss, optimiser.gradient


def pairs_for(case: Case) -> list[TrainingPair]:
    label: Callable[[int], float] = (lambda n: 1 - n / 8) if case.soft else (lambda n: 1.0)
    pairs: list[TrainingPair] = pairs_of(LENGTHS, label)
    if case.reference != "from_sampling":
        return pairs
    return [replace(p, sampled_logps=_sampled(case.family)[p.pair_id]) for p in pairs]


@functools.cache
def _sampled(family: str) -> ReferenceLogps:
    model = build(family)
    pairs = pairs_of(LENGTHS, lambda n: 1.0)
    found: ReferenceLogps = reference_pass(
        _round(TrainingConfig(path="plain"), pairs, 10**6, 0, model, None, ALONE), pairs
    )[1]
    return found


def _round(
    config: TrainingConfig,
    pairs: list[TrainingPair],
    budget: int,
    seed: int,
    model: Any,
    enter: Enter | None,
    team: Team,
) -> Round:
    model.set_attn_implementation(attention_for(model.config))
    path, _ = choose_path(model, pairs, config, CPU, enter)
    return Round(config, seed, CPU, model, path, budget, lambda *_: None, team)


def _reference(
    round: Round, pairs: list[TrainingPair], make_other: Callable[[], Round] | None
) -> ReferenceLogps | None:
    """Under the round's model, or under that of the round that is made. Kept by all that decides
    what a pass finds, of which the loss is no part."""
    config = round.config
    if not config.has_reference:
        return None
    if config.reference_logps == "from_sampling":
        return reference_from_sampling(pairs).counted
    options = config.path, config.wpo, config.ld_alpha, config.shortens
    asked = options, round.budget, round.seed, round.team.size, make_other is None
    known = _known.setdefault(round.model, {})
    if asked not in known:
        known[asked] = reference_pass(make_other() if make_other else round, pairs)[0]
    return known[asked]


_known: WeakKeyDictionary[Any, dict[Any, ReferenceLogps]] = WeakKeyDictionary()
"""By the model that is trained: what `_reference` found for it."""
