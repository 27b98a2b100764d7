"""Every preference loss as a pure function of log-probs: one number per pair, in LOSSES by name.

`pair` is the number of pairs; y_w is the chosen, y_l the rejected completion, |y| its tokens; β and
ε are the options `beta` and `label_smoothing`. A *log-ratio* is log π(y)/π_ref(y), a *score* what
the divergence makes of it (the log-ratio itself for the reverse KL). Names are those of TRL.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dpo_core.loss_options import LossOptions
from dpo_core.preference.divergences import divergence_scores
from dpo_core.preference.pair_logps import PairLogps


@dataclass(frozen=True)
class Terms:
    """What losses are made of, each (pair,), nats. Without a reference, ratios are log-probs."""

    policy: PairLogps
    chosen_logratio: Tensor
    rejected_logratio: Tensor
    chosen_score: Tensor
    rejected_score: Tensor
    p_chosen: Tensor | None = None

    @property
    def margin(self) -> Tensor:
        """(pair,) chosen minus rejected score."""
        return self.chosen_score - self.rejected_score

    def mean_margin(self, loss: str) -> Tensor:
        """(pair,) chosen minus rejected score per token of each. ValueError without lengths."""
        chosen = self.chosen_score / self.policy.lengths("chosen", loss).clamp(min=1)
        return chosen - self.rejected_score / self.policy.lengths("rejected", loss).clamp(min=1)


LossFunction = Callable[[Terms, LossOptions], Tensor]


def terms(
    policy: PairLogps,
    reference: PairLogps | None,
    options: LossOptions,
    p_chosen: Tensor | None = None,
) -> Terms:
    """What the loss functions take, from log-probs of policy and reference."""
    if reference is None:
        chosen, rejected = policy.chosen, policy.rejected
    else:
        chosen, rejected = policy.chosen - reference.chosen, policy.rejected - reference.rejected
    chosen_score, rejected_score = (
        divergence_scores(ratios, options.divergence, options.divergence_alpha)
        for ratios in (chosen, rejected)
    )
    return Terms(policy, chosen, rejected, chosen_score, rejected_score, p_chosen)


# ── with a reference ─────────────────────────────────────────────────────────────────────────────


def sigmoid(terms: Terms, options: LossOptions) -> Tensor:
    """DPO: −p·log σ(β·Δ) − (1 − p)·log σ(−β·Δ), Δ the margin, p = 1 − ε or from `p_chosen`.

    Rafailov et al. 2023 (arXiv:2305.18290), equation 7; with ε, the conservative DPO of Mitchell
    2023, "A note on DPO with noisy preferences", equation 3.
    """
    return _two_sided(options.beta * terms.margin, terms, options)


def sigmoid_norm(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on scores per token: −log σ(β·(s_w/|y_w| − s_l/|y_l|)).

    Length-normalised DPO, as Tülu 3 trains (arXiv:2411.15124). β is larger there by about the
    length of a completion.
    """
    return _two_sided(options.beta * terms.mean_margin("sigmoid_norm"), terms, options)


def hinge(terms: Terms, options: LossOptions) -> Tensor:
    """max(0, 1 − β·Δ): the rank calibration of SLiC, Zhao et al. 2023 (arXiv:2305.10425), on
    log-ratios, as in RSO, Liu et al. 2023 (arXiv:2309.06657), with γ = β.
    """
    return torch.relu(1 - options.beta * terms.margin)


def ipo(terms: Terms, options: LossOptions) -> Tensor:
    """(m − 1/(2β))², m the margin of scores **per token**.

    Azar et al. 2023 (arXiv:2310.12036), equation 17, with τ = β. The paper writes sums over the
    completion; TRL divides by its tokens and says that the authors confirmed this for their
    results. We follow TRL. For the sums of the paper, pass lengths of 1.
    """
    return (terms.mean_margin("ipo") - 1 / (2 * options.beta)) ** 2


def exo_pair(terms: Terms, options: LossOptions) -> Tensor:
    """KL of (σ(βΔ), σ(−βΔ)) from (1 − ε, ε): the reverse KL of EXO for two completions.

    Ji et al. 2024 (arXiv:2402.00856), equation 16. It needs ε > 0: log ε is in it.
    """
    scaled = options.beta * terms.margin
    smoothing = torch.tensor(options.label_smoothing, dtype=scaled.dtype, device=scaled.device)
    right = torch.sigmoid(scaled) * (F.logsigmoid(scaled) - torch.log1p(-smoothing))
    return right + torch.sigmoid(-scaled) * (F.logsigmoid(-scaled) - smoothing.log())


def robust(terms: Terms, options: LossOptions) -> Tensor:
    """(−(1 − ε)·log σ(βΔ) + ε·log σ(−βΔ)) / (1 − 2ε): unbiased when labels flip with rate ε.

    Chowdhury et al. 2024 (arXiv:2403.00409), the loss of rDPO. It needs ε < 1/2.
    """
    scaled, smoothing = options.beta * terms.margin, options.label_smoothing
    kept = -(1 - smoothing) * F.logsigmoid(scaled)
    return (kept + smoothing * F.logsigmoid(-scaled)) / (1 - 2 * smoothing)


def nca_pair(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(r_w) − ½·log σ(−r_w) − ½·log σ(−r_l), r = β·log-ratio.

    Noise-contrastive alignment, Chen et al. 2024 (arXiv:2402.05369), for two
    completions with preference labels.
    """
    chosen, rejected = _rewards(terms, options)
    return -F.logsigmoid(chosen) - 0.5 * F.logsigmoid(-chosen) - 0.5 * F.logsigmoid(-rejected)


def bco_pair(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(r_w) − log σ(−r_l), r = β·log-ratio.

    Binary classifier optimisation, Jung et al. 2024 (arXiv:2404.04656), without the moving average
    of rewards that the paper subtracts (TRL's `bco_pair` has none either).
    """
    chosen, rejected = _rewards(terms, options)
    return -F.logsigmoid(chosen) - F.logsigmoid(-rejected)


def sppo_hard(terms: Terms, options: LossOptions) -> Tensor:
    """(log-ratio_w − 1/(2β))² + (log-ratio_l + 1/(2β))².

    Wu et al. 2024 (arXiv:2405.00675), equation 4.7, with win probabilities 1 and 0 and η = 1/β.
    """
    half = 0.5 / options.beta
    return (terms.chosen_logratio - half) ** 2 + (terms.rejected_logratio + half) ** 2


def aot(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on sorted gaps: the policy's log π(y_w)/π(y_l) against the reference's, each sorted
    over the optimiser step.

    Alignment by optimal transport, Melnyk et al. 2024 (arXiv:2406.05882), paired.
    Values are in the order of the sorted gaps; only their mean belongs to the step.
    """
    policy = terms.policy.chosen - terms.policy.rejected
    reference = policy - (terms.chosen_logratio - terms.rejected_logratio)
    gaps = policy.sort().values - reference.sort().values
    return _smoothed(options.beta * gaps, options.label_smoothing)


def aot_unpaired(terms: Terms, options: LossOptions) -> Tensor:
    """`sigmoid` on sorted log-ratios: those of chosen against those of rejected completions, each
    sorted over the optimiser step.

    Melnyk et al. 2024 (arXiv:2406.05882), unpaired.
    """
    gaps = terms.chosen_logratio.sort().values - terms.rejected_logratio.sort().values
    return _smoothed(options.beta * gaps, options.label_smoothing)


def apo_zero(terms: Terms, options: LossOptions) -> Tensor:
    """1 − σ(r_w) + σ(r_l), r = β·log-ratio: chosen up, rejected down.

    Anchored preference optimisation, D'Oosterlinck et al. 2024 (arXiv:2408.06266), equation 7.
    """
    chosen, rejected = _rewards(terms, options)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(terms: Terms, options: LossOptions) -> Tensor:
    """σ(r_w) + 1 − σ(r_w − r_l), r = β·log-ratio: both down, rejected more.

    D'Oosterlinck et al. 2024 (arXiv:2408.06266), equation 8.
    """
    chosen, rejected = _rewards(terms, options)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def discopop(terms: Terms, options: LossOptions) -> Tensor:
    """(1 − m)·(−log σ(x)) + m·exp(−x), x = β·Δ, m = σ(x/τ).

    Lu et al. 2024 (arXiv:2406.08414), equation 5. m·exp(−x) is computed as one exponential: apart,
    0·∞ is not a number at large negative margins. It needs τ ≤ 1, or the product is unbounded.
    """
    scaled = options.beta * terms.margin
    sharpened = scaled / options.discopop_tau
    logistic = torch.sigmoid(-sharpened) * -F.logsigmoid(scaled)
    return logistic + torch.exp(F.logsigmoid(sharpened) - scaled)


# ── without a reference ──────────────────────────────────────────────────────────────────────────


def sft(terms: Terms, options: LossOptions) -> Tensor:
    """−log π(y_w): supervised learning on the chosen completion.

    Divided by the chosen tokens of the optimiser step: each token counts the same, as in
    pre-training and in TRL.
    """
    return -terms.policy.chosen


def simpo(terms: Terms, options: LossOptions) -> Tensor:
    """−log σ(β·(log π(y_w)/|y_w| − log π(y_l)/|y_l|) − γ), γ the option simpo_gamma.

    Meng et al. 2024 (arXiv:2405.14734), equation 6. There β is 2 to 2.5.
    """
    chosen, rejected = _mean_logps(terms, "simpo")
    return -F.logsigmoid(options.beta * (chosen - rejected) - options.simpo_gamma)


def orpo(terms: Terms, options: LossOptions) -> Tensor:
    """−log P_w − β·log σ(log odds_w − log odds_l), log P = log π(y)/|y|, odds = P/(1 − P).

    Hong et al. 2024 (arXiv:2403.07691), equations 6 and 7, with λ = β: supervised learning on the
    chosen completion, per token, and the odds ratio against the rejected one. TRL's trainer takes
    its first term over the prompt as well; the paper, and we, over the completion.
    """
    chosen, rejected = _mean_logps(terms, "orpo")
    log_odds = (chosen - _log_complement(chosen)) - (rejected - _log_complement(rejected))
    return -chosen - options.beta * F.logsigmoid(log_odds)


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
"""What each takes and how it is averaged: dpo_core.loss_options."""


# ── shared ───────────────────────────────────────────────────────────────────────────────────────


def _two_sided(scaled: Tensor, terms: Terms, options: LossOptions) -> Tensor:
    p_chosen = 1.0 if terms.p_chosen is None else terms.p_chosen.to(scaled)
    flipped = p_chosen * options.label_smoothing + (1 - p_chosen) * (1 - options.label_smoothing)
    return _smoothed(scaled, flipped)


def _smoothed(scaled: Tensor, flipped: Tensor | float) -> Tensor:
    # logsigmoid neither overflows nor rounds σ to 0 first: margins of ±1e4 keep finite gradients.
    return -(1 - flipped) * F.logsigmoid(scaled) - flipped * F.logsigmoid(-scaled)


def _rewards(terms: Terms, options: LossOptions) -> tuple[Tensor, Tensor]:
    return options.beta * terms.chosen_logratio, options.beta * terms.rejected_logratio


def _mean_logps(terms: Terms, loss: str) -> tuple[Tensor, Tensor]:
    chosen = terms.policy.chosen / terms.policy.lengths("chosen", loss).clamp(min=1)
    return chosen, terms.policy.rejected / terms.policy.lengths("rejected", loss).clamp(min=1)


def _log_complement(logps: Tensor) -> Tensor:
    """log(1 − exp(x)) for x ≤ 0, finite at 0 too, where a token that is certain has no odds."""
    below = logps.clamp(max=-torch.finfo(logps.dtype).eps)
    near = torch.log(-torch.expm1(below))
    return torch.where(below > -1, near, torch.log1p(-below.exp()))
