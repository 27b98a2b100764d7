"""Losses without a reference, in the notation of dpo_core.preference.loss_functions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dpo_core.loss_options import LossOptions
from dpo_core.preference.terms import Terms


def sft(terms: Terms, options: LossOptions) -> Tensor:
    """−log π(y_w): supervised learning on the chosen completion.

    `preference_loss` divides it by the chosen tokens of the optimiser step, so every token counts
    the same, as in pre-training and in TRL.

    Args:
        terms: the policy's log-probs.
        options: none is used.

    Returns:
        (pair,) losses, nats per completion.
    """
    return -terms.policy.chosen


def simpo(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(β·(log π(y_w)/|y_w| − log π(y_l)/|y_l|) − γ), with γ the option `simpo_gamma`.

    Meng et al. 2024 (arXiv:2405.14734), equation 6. There β is 2 to 2.5.

    Args:
        terms: the policy's log-probs and lengths.
        options: `beta`, `simpo_gamma`.

    Returns:
        (pair,) losses, nats.

    Raises:
        ValueError: the policy's log-probs have no lengths.
    """
    chosen, rejected = _mean_logps(terms, "simpo")
    return -F.logsigmoid(options.beta * (chosen - rejected) - options.simpo_gamma)


def orpo(terms: Terms, options: LossOptions) -> Tensor:
    """−log P_w − β·log σ(log odds_w − log odds_l), with log P = log π(y)/|y|, odds = P/(1 − P).

    Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7, with λ = β: supervised learning on the
    chosen completion, per token, plus the odds ratio against the rejected one. TRL's trainer takes
    its first term over the prompt as well; the paper, and we, over the completion.

    Args:
        terms: the policy's log-probs and lengths.
        options: `beta`.

    Returns:
        (pair,) losses, nats per token.

    Raises:
        ValueError: the policy's log-probs have no lengths.
    """
    chosen, rejected = _mean_logps(terms, "orpo")
    log_odds = (chosen - _log_complement(chosen)) - (rejected - _log_complement(rejected))
    return -chosen - options.beta * F.logsigmoid(log_odds)


def _mean_logps(terms: Terms, loss: str) -> tuple[Tensor, Tensor]:
    chosen = terms.policy.chosen / terms.policy.lengths("chosen", loss).clamp(min=1)
    return chosen, terms.policy.rejected / terms.policy.lengths("rejected", loss).clamp(min=1)


def _log_complement(logps: Tensor) -> Tensor:
    """log(1 − exp(x)) for x ≤ 0. Finite at 0 as well, where the odds would be infinite."""
    below = logps.clamp(max=-torch.finfo(logps.dtype).eps)
    near = torch.log(-torch.expm1(below))
    return torch.where(below > -1, near, torch.log1p(-below.exp()))
