"""A loss of the user by import path, checked at each call."""

from dataclasses import fields, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dpo_core.errors import BadInput
from dpo_core.import_path import load_function
from dpo_core.loss_options import LossOptions, is_user_loss
from dpo_core.preference.loss_functions import LOSSES, LossFunction
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.preference.terms import Terms

_SAME = 1e-4
"""Relative difference of one pair's loss, alone and among others, that rounding explains."""


@cache
def find_loss(name: str) -> LossFunction:
    """The loss function that `name` stands for: one of LOSSES, or `package.module:function`.

    A function of the user gets Terms and LossOptions and returns one loss per pair, (pair,), in
    nats, differentiable with respect to the policy's log-probs. Losses of one optimiser step are
    averaged over its pairs, which may come in several batches, so that each value must depend on
    its own pair alone.

    Raises:
        ConfigError: no such function can be imported.
        BadInput: when it is called and returns anything else.

    Example:
        `training.loss: my_losses:cubic` with

            def cubic(terms, options):
                return (1 - options.beta * terms.margin).clamp(min=0) ** 3
    """
    return _checked(name, load_function(name)) if is_user_loss(name) else LOSSES[name]


def _checked(name: str, function: LossFunction) -> LossFunction:
    def checked(terms: Terms, options: LossOptions) -> Tensor:
        losses = function(terms, options)
        _check_values(name, losses, terms)
        _check_alone(name, function, losses, terms, options)
        return losses

    return checked


def _check_values(name: str, losses: Any, terms: Terms) -> None:
    expected = terms.chosen_score.shape
    if not isinstance(losses, Tensor) or losses.shape != expected:
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise BadInput(
            f"training.loss {name} returned {shape} for {expected[0]} pairs",
            f"Return one number per pair: a tensor of shape {tuple(expected)}, not their mean.",
        )
    if terms.policy.chosen.requires_grad and not losses.requires_grad:
        raise BadInput(
            f"training.loss {name} returned numbers without a gradient",
            "Compute them from terms by torch operations, without .detach(), .item() or no_grad.",
        )


def _check_alone(
    name: str, function: LossFunction, losses: Tensor, terms: Terms, options: LossOptions
) -> None:
    """The last pair by itself: a mean, a sort or a normalisation over the batch shows here."""
    if len(losses) < 2:
        return
    with torch.no_grad():
        alone = function(_last(terms), options)[0]
    together = losses.detach()[-1]
    if not torch.isclose(alone, together, rtol=_SAME, atol=_SAME, equal_nan=True):
        raise BadInput(
            f"training.loss {name} gives a pair {together:.6g} among {len(losses)} pairs and "
            f"{alone:.6g} alone",
            "Let each value depend on its own pair: a batch is only a part of an optimiser step.",
        )


def _last(terms: Terms) -> Terms:
    values = {field.name: getattr(terms, field.name) for field in fields(terms)}
    cut = {name: v[-1:].detach() for name, v in values.items() if isinstance(v, Tensor)}
    return replace(terms, policy=_last_logps(terms.policy), **cut)


def _last_logps(logps: PairLogps) -> PairLogps:
    values = {field.name: getattr(logps, field.name) for field in fields(logps)}
    cut = {name: v[-1:].detach() for name, v in values.items() if isinstance(v, Tensor)}
    return replace(logps, **cut, whole=_last_logps(logps.whole) if logps.whole else None)
