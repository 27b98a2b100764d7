"""Metrics of a set of pairs besides the loss.

`pair` is the number of pairs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dpo_core.preference.losses import margins
from dpo_core.preference.pair_logps import PairLogps


@dataclass(frozen=True)
class PreferenceMetrics:
    """Means over pairs, weighted by the policy's `weights` where it has them.

    accuracy: share with a positive margin; ties count as wrong.
    margin: chosen minus rejected log-ratio, nats, without β.
    margin_spread: standard deviation of the margin over pairs, nats, unweighted.
    chosen_logratio, rejected_logratio: log π/π_ref of the completions, nats.
    implicit_reward_chosen, implicit_reward_rejected: β times these log-ratios.
    gradient_weight: σ(−β·margin), how hard the loss still pulls.
    """

    accuracy: float
    margin: float
    margin_spread: float
    chosen_logratio: float
    rejected_logratio: float
    implicit_reward_chosen: float
    implicit_reward_rejected: float
    gradient_weight: float


def preference_metrics(
    policy: PairLogps, reference: PairLogps, *, beta: float
) -> PreferenceMetrics:
    """Compute metrics of some pairs.

    Rafailov et al. 2023 (arXiv:2305.18290): implicit reward β·log π/π_ref in section 4, gradient
    weight in the gradient of equation 7.

    Args:
        policy: log-probs under the policy, nats.
        reference: log-probs under the reference, nats.
        beta: β of implicit rewards and gradient weights.

    Returns:
        PreferenceMetrics, means over the pairs.

    Raises:
        ValueError: there are no pairs.

    Example:
        >>> zeros = PairLogps(torch.zeros(1), torch.zeros(1))
        >>> preference_metrics(PairLogps(torch.ones(1), torch.zeros(1)), zeros, beta=0.1).margin
        1.0
    """
    if policy.chosen.numel() == 0:
        raise ValueError("there are no pairs to measure")
    margin = margins(policy, reference)
    chosen_logratio = _mean(policy.chosen - reference.chosen, policy.weights)
    rejected_logratio = _mean(policy.rejected - reference.rejected, policy.weights)
    return PreferenceMetrics(
        accuracy=_mean(margin > 0, policy.weights),
        margin=_mean(margin, policy.weights),
        margin_spread=float(margin.detach().double().std(correction=0)),
        chosen_logratio=chosen_logratio,
        rejected_logratio=rejected_logratio,
        implicit_reward_chosen=beta * chosen_logratio,
        implicit_reward_rejected=beta * rejected_logratio,
        gradient_weight=_mean(torch.sigmoid(-beta * margin), policy.weights),
    )


def length_correlation(policy: PairLogps, reference: PairLogps) -> float | None:
    """Pearson's correlation of log π/π_ref with length, over all completions of the pairs.

    It shows the length exploitation that Park et al. 2024 (arXiv:2403.19159) find in DPO.

    Args:
        policy: log-probs under the policy, with lengths.
        reference: log-probs under the reference.

    Returns:
        The correlation in [−1, 1]; None when all lengths or all log-ratios are equal.

    Raises:
        ValueError: the policy's log-probs have no lengths.
    """
    plain = policy.plain
    lengths = torch.cat([plain.lengths("chosen", "any"), plain.lengths("rejected", "any")])
    logratios = torch.cat(
        [policy.chosen - reference.chosen, policy.rejected - reference.rejected]
    ).detach()
    x, y = (v.double() - v.double().mean() for v in (lengths, logratios))
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else None


def _mean(values: Tensor, weights: Tensor | None) -> float:
    values = values.detach().double()
    if weights is None:
        return float(values.mean())
    weights = weights.detach().double()
    return float((values * weights).sum() / weights.sum())
