"""Every preference loss as a pure function of log-probs, by name in LOSSES. Names are TRL's.

`pair` is the number of pairs; y_w is the chosen completion, y_l the rejected one, |y| its tokens;
β and ε are the options `beta` and `label_smoothing`. A *log-ratio* is log π(y)/π_ref(y). A *score*
is f'(π/π_ref) of the divergence, which for the reverse KL is the log-ratio itself. The margin Δ is
the chosen minus the rejected score.

Every loss takes `terms`, the log-ratios and scores of some pairs, and `options`, its
hyperparameters. It returns (pair,) values, whose mean is the loss of the pairs.

Example, with log-ratios of +1 nat (chosen) and −1 nat (rejected):
    >>> from dpo_core.preference.pair_logps import PairLogps
    >>> from dpo_core.preference.terms import make_terms
    >>> policy = PairLogps(torch.tensor([-9.0]), torch.tensor([-11.0]))
    >>> reference = PairLogps(torch.tensor([-10.0]), torch.tensor([-10.0]))
    >>> options = LossOptions(beta=0.1)
    >>> pair_terms = make_terms(policy, reference, options)
    >>> for loss in (sigmoid, hinge, nca_pair, bco_pair, sppo_hard, apo_zero, apo_down, discopop):
    ...     print(f"{loss.__name__:9} {loss(pair_terms, options).item():.4f}")
    sigmoid   0.5981
    hinge     0.8000
    nca_pair  1.3388
    bco_pair  1.2888
    sppo_hard 32.0000
    apo_zero  0.9500
    apo_down  0.9751
    discopop  0.8148
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dpo_core.loss_options import LossOptions
from dpo_core.preference.reference_free_losses import orpo, sft, simpo
from dpo_core.preference.terms import Terms

LossFunction = Callable[[Terms, LossOptions], Tensor]


def sigmoid(terms: Terms, options: LossOptions) -> Tensor:
    """DPO: −p·log σ(β·Δ) − (1 − p)·log σ(−β·Δ), with p = 1 − ε or from `p_chosen`.

    Rafailov et al. 2023 (arXiv:2305.18290), equation 7; with ε the conservative DPO of Mitchell
    2023, "A note on DPO with noisy preferences", equation 3.

    Args:
        terms: scores and, for soft labels, `p_chosen`.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats.
    """
    return _two_sided(options.beta * terms.margin, terms, options)


def sigmoid_norm(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on scores per token: −log σ(β·(s_w/|y_w| − s_l/|y_l|)).

    Length-normalised DPO, as Tülu 3 trains (arXiv:2411.15124). There β is larger by about the
    length of a completion.

    Args:
        terms: scores, lengths and, for soft labels, `p_chosen`.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats.

    Raises:
        ValueError: the policy's log-probs have no lengths.
    """
    return _two_sided(options.beta * terms.mean_margin("sigmoid_norm"), terms, options)


def hinge(terms: Terms, options: LossOptions) -> Tensor:
    """max(0, 1 − β·Δ): the rank calibration of SLiC, Zhao et al. 2023 (arXiv:2305.10425).

    It is taken on log-ratios, as in RSO, Liu et al. 2023 (arXiv:2309.06657), with γ = β.

    Args:
        terms: scores.
        options: `beta`.

    Returns:
        (pair,) losses.
    """
    return torch.relu(1 - options.beta * terms.margin)


def ipo(terms: Terms, options: LossOptions) -> Tensor:
    """(m − 1/(2β))², with m the margin of scores **per token**.

    Azar et al. 2023 (arXiv:2310.12036), equation 17, with τ = β. The paper sums over the
    completion; TRL divides by its tokens and says that the authors confirmed this for their
    results. We follow TRL. For the paper's sums, pass lengths of 1.

    Args:
        terms: scores and lengths.
        options: `beta`.

    Returns:
        (pair,) losses, nats².

    Raises:
        ValueError: the policy's log-probs have no lengths.
    """
    return (terms.mean_margin("ipo") - 1 / (2 * options.beta)) ** 2


def exo_pair(terms: Terms, options: LossOptions) -> Tensor:
    """KL of (σ(βΔ), σ(−βΔ)) from (1 − ε, ε): the reverse KL of EXO for two completions.

    Ji et al. 2024 (arXiv:2402.00856), equation 16. It takes log ε, so ε must be above 0.

    Args:
        terms: scores.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats.
    """
    scaled = options.beta * terms.margin
    smoothing = torch.tensor(options.label_smoothing, dtype=scaled.dtype, device=scaled.device)
    right = torch.sigmoid(scaled) * (F.logsigmoid(scaled) - torch.log1p(-smoothing))
    return right + torch.sigmoid(-scaled) * (F.logsigmoid(-scaled) - smoothing.log())


def robust(terms: Terms, options: LossOptions) -> Tensor:
    """(−(1 − ε)·log σ(βΔ) + ε·log σ(−βΔ)) / (1 − 2ε): unbiased when labels flip at rate ε.

    Chowdhury et al. 2024 (arXiv:2403.00409), the loss of rDPO. ε must be below 1/2.

    Args:
        terms: scores.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats.
    """
    scaled, smoothing = options.beta * terms.margin, options.label_smoothing
    agreeing = -(1 - smoothing) * F.logsigmoid(scaled)
    return (agreeing + smoothing * F.logsigmoid(-scaled)) / (1 - 2 * smoothing)


def nca_pair(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(r_w) − ½·log σ(−r_w) − ½·log σ(−r_l), with r = β·log-ratio.

    Noise-contrastive alignment, Chen et al. 2024 (arXiv:2402.05369), for two completions with
    preference labels.

    Args:
        terms: log-ratios.
        options: `beta`.

    Returns:
        (pair,) losses, nats.
    """
    chosen, rejected = _rewards(terms, options)
    return -F.logsigmoid(chosen) - 0.5 * F.logsigmoid(-chosen) - 0.5 * F.logsigmoid(-rejected)


def bco_pair(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(r_w) − log σ(−r_l), with r = β·log-ratio.

    Binary classifier optimisation, Jung et al. 2024 (arXiv:2404.04656), without the moving average
    of rewards that the paper subtracts (TRL's `bco_pair` has none either).

    Args:
        terms: log-ratios.
        options: `beta`.

    Returns:
        (pair,) losses, nats.
    """
    chosen, rejected = _rewards(terms, options)
    return -F.logsigmoid(chosen) - F.logsigmoid(-rejected)


def sppo_hard(terms: Terms, options: LossOptions) -> Tensor:
    """(log-ratio_w − 1/(2β))² + (log-ratio_l + 1/(2β))².

    Wu et al. 2024 (arXiv:2405.00675), equation 4.7, with win probabilities 1 and 0 and η = 1/β.

    Args:
        terms: log-ratios.
        options: `beta`.

    Returns:
        (pair,) losses, nats².
    """
    half = 0.5 / options.beta
    return (terms.chosen_logratio - half) ** 2 + (terms.rejected_logratio + half) ** 2


def aot(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on sorted gaps: the policy's log π(y_w)/π(y_l) minus the reference's, each sorted
    over the optimiser step.

    Alignment by optimal transport, Melnyk et al. 2024 (arXiv:2406.05882), paired.

    Args:
        terms: log-ratios and the policy's log-probs, of all pairs of the optimiser step.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats, in the order of the sorted gaps: only their mean has a meaning.
    """
    policy = terms.policy.chosen - terms.policy.rejected
    reference = policy - (terms.chosen_logratio - terms.rejected_logratio)
    gaps = policy.sort().values - reference.sort().values
    return _smoothed(options.beta * gaps, options.label_smoothing)


def aot_unpaired(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on sorted log-ratios: chosen minus rejected, each sorted over the optimiser step.

    Melnyk et al. 2024 (arXiv:2406.05882), unpaired.

    Args:
        terms: log-ratios of all pairs of the optimiser step.
        options: `beta`, `label_smoothing`.

    Returns:
        (pair,) losses, nats, in the order of the sorted gaps: only their mean has a meaning.
    """
    gaps = terms.chosen_logratio.sort().values - terms.rejected_logratio.sort().values
    return _smoothed(options.beta * gaps, options.label_smoothing)


def apo_zero(terms: Terms, options: LossOptions) -> Tensor:
    """1 − σ(r_w) + σ(r_l), with r = β·log-ratio: chosen up, rejected down.

    Anchored preference optimisation, D'Oosterlinck et al. 2024 (arXiv:2408.06266), equation 7.

    Args:
        terms: log-ratios.
        options: `beta`.

    Returns:
        (pair,) losses in (0, 2).
    """
    chosen, rejected = _rewards(terms, options)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(terms: Terms, options: LossOptions) -> Tensor:
    """σ(r_w) + 1 − σ(r_w − r_l), with r = β·log-ratio: both down, rejected further.

    D'Oosterlinck et al. 2024 (arXiv:2408.06266), equation 8.

    Args:
        terms: log-ratios.
        options: `beta`.

    Returns:
        (pair,) losses in (0, 2).
    """
    chosen, rejected = _rewards(terms, options)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def discopop(terms: Terms, options: LossOptions) -> Tensor:
    """(1 − m)·(−log σ(x)) + m·exp(−x), with x = β·Δ and m = σ(x/τ).

    Lu et al. 2024 (arXiv:2406.08414), equation 5. m·exp(−x) is one exponential here: as a product
    it would be 0·∞, NaN, at large negative margins. τ must be at most 1, or it is unbounded.

    Args:
        terms: scores.
        options: `beta`, `discopop_tau`.

    Returns:
        (pair,) losses.
    """
    scaled = options.beta * terms.margin
    sharpened = scaled / options.discopop_tau
    logistic = torch.sigmoid(-sharpened) * -F.logsigmoid(scaled)
    return logistic + torch.exp(F.logsigmoid(sharpened) - scaled)


LOSSES: dict[str, LossFunction] = {
    function.__name__: function
    for function in (
        sigmoid,
        sigmoid_norm,
        hinge,
        ipo,
        exo_pair,
        robust,
        nca_pair,
        bco_pair,
        sppo_hard,
        aot,
        aot_unpaired,
        apo_zero,
        apo_down,
        discopop,
        sft,
        simpo,
        orpo,
    )
}
"""Name → loss. What each takes and how it is averaged: dpo_core.loss_options.TRAITS."""


def _two_sided(scaled: Tensor, terms: Terms, options: LossOptions) -> Tensor:
    p_chosen = 1.0 if terms.p_chosen is None else terms.p_chosen.to(scaled)
    flipped = p_chosen * options.label_smoothing + (1 - p_chosen) * (1 - options.label_smoothing)
    return _smoothed(scaled, flipped)


def _smoothed(scaled: Tensor, flipped: Tensor | float) -> Tensor:
    # logsigmoid neither overflows nor rounds σ to 0 first: margins of ±1e4 keep finite gradients.
    return -(1 - flipped) * F.logsigmoid(scaled) - flipped * F.logsigmoid(-scaled)


def _rewards(terms: Terms, options: LossOptions) -> tuple[Tensor, Tensor]:
    return options.beta * terms.chosen_logratio, options.beta * terms.rejected_logratio
