"""Scores of completions: f'(π/π_ref) of a divergence, from log-ratios of policy and reference.

DPO with an f-divergence other than the reverse KL replaces each log-ratio by f'(π/π_ref): Wang et
al. 2023 (arXiv:2309.16240). Constants in f' cancel between the chosen and the rejected completion;
here they are chosen so that a policy equal to its reference scores 0.
"""

import math
from typing import get_args

from torch import Tensor
from torch.nn import functional as F

from dpo_core.loss_options import Divergence

_LARGEST_EXPONENT = 30.0
"""Beyond it exponentials continue as straight lines, so values and gradients stay finite."""


def divergence_scores(logratios: Tensor, divergence: Divergence, alpha: float) -> Tensor:
    """Scores f'(t) of log-ratios log t; 0 where the policy equals its reference.

    reverse_kl: log t, plain DPO. forward_kl: 1 − 1/t. js_divergence: log(2t/(1 + t)).
    alpha_divergence: (t^(α−1) − 1)/(α − 1), which tends to reverse_kl for α → 1 and is forward_kl
    for α = 0.

    Args:
        logratios: (pair,) log π/π_ref of completions, nats.
        divergence: one of the names above.
        alpha: α of the α-divergence; the others ignore it.

    Returns:
        (pair,) scores.

    Raises:
        ValueError: the divergence is unknown.

    Example:
        >>> import torch
        >>> divergence_scores(torch.tensor([0.0, 1.0]), "forward_kl", alpha=0.5)
        tensor([0.0000, 0.6321])
    """
    if divergence == "reverse_kl":
        return logratios
    if divergence == "forward_kl":
        return 1 - _exp(-logratios)
    if divergence == "js_divergence":
        return math.log(2) + F.logsigmoid(logratios)
    if divergence == "alpha_divergence":
        if abs(alpha - 1) < 1e-6:
            return logratios
        return (_exp((alpha - 1) * logratios) - 1) / (alpha - 1)
    raise ValueError(
        f"there is no divergence {divergence!r}: choose one of {', '.join(get_args(Divergence))}"
    )


def _exp(exponents: Tensor) -> Tensor:
    """exp up to _LARGEST_EXPONENT, its tangent beyond."""
    inner = exponents.clamp(max=_LARGEST_EXPONENT)
    return inner.exp() * (1 + (exponents - inner))
