"""The loss of preference pairs, by name: checked options, one number per pair.

`pair` is the number of pairs. The margin Δ of a pair is log π(y_w)/π_ref(y_w) minus
log π(y_l)/π_ref(y_l), with y_w chosen and y_l rejected, in nats and without β.
"""

from dataclasses import dataclass

from torch import Tensor

from dpo_core.loss_options import (
    TRAITS,
    Divergence,
    LossOptions,
    Traits,
    check_combination,
    check_options,
)
from dpo_core.preference.loss_functions import LOSSES, terms
from dpo_core.preference.pair_logps import PairLogps


def margins(policy: PairLogps, reference: PairLogps) -> Tensor:
    """(pair,) chosen minus rejected log-ratio, nats, without β."""
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def preference_loss(
    policy: PairLogps,
    reference: PairLogps | None,
    *,
    loss: str = "sigmoid",
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    p_chosen: Tensor | None = None,
    nll_weight: float = 0.0,
    divergence: Divergence = "reverse_kl",
    divergence_alpha: float = 0.5,
    discopop_tau: float = 0.05,
    simpo_gamma: float = 0.5,
) -> Tensor:
    """(pair,) losses whose mean over these pairs is their loss.

    loss: a name in LOSSES, where each stands with its equation and source. The default, `sigmoid`,
    is DPO: −log σ(β·Δ), with the gradient −β·σ(−β·Δ)·(∇log π(y_w) − ∇log π(y_l)).
    reference: None for the losses that need none (sft, simpo, orpo).
    beta: β, the strength of the pull to the reference: small lets the policy move far.
    label_smoothing: ε, the probability that a preference is the wrong way round.
    p_chosen (pair,): probability that the chosen completion is the better one, where labels are
    uncertain. The other options are those of LossOptions.
    nll_weight: α of a term −α·log π(y_w)/|y_w| that keeps chosen completions likely, Pang et al.
    2024 (arXiv:2404.19733), equation 1: the whole likelihood, whatever the loss counts of it.
    Losses are multiplied by `policy.weights` where there are any.

    Minimising `sigmoid` over Bradley–Terry preferences of a reward r reaches π_ref·exp(r/β)/Z
    (Rafailov et al. 2023, arXiv:2305.18290, equation 4). With the reference reset in each round,
    k rounds multiply up to π_0·exp(k·r/β)/Z_k: the drift from π_0 adds up although each round
    looks small.

    Raises ValueError for what the loss cannot take, and says why.
    """
    options = LossOptions(
        beta, label_smoothing, divergence, divergence_alpha, discopop_tau, simpo_gamma
    )
    return PairLosses(loss, options, nll_weight)(policy, reference, p_chosen=p_chosen)


@dataclass(frozen=True)
class PairLosses:
    """`preference_loss` with its options fixed and checked."""

    loss: str
    options: LossOptions
    nll_weight: float = 0.0

    def __post_init__(self) -> None:
        check_options(self.loss, self.options)

    def __call__(
        self,
        policy: PairLogps,
        reference: PairLogps | None,
        *,
        p_chosen: Tensor | None = None,
        tokens_per_pair: float | None = None,
    ) -> Tensor:
        """(pair,) losses; tokens_per_pair: mean of the chosen tokens over all pairs whose losses
        will be averaged, when these are only some of them.
        """
        traits = TRAITS[self.loss]
        _check_inputs(self.loss, traits, policy, reference, p_chosen)
        losses = LOSSES[self.loss](terms(policy, reference, self.options, p_chosen), self.options)
        if traits.normaliser == "chosen_tokens":
            lengths = policy.lengths("chosen", self.loss)
            losses = losses / (tokens_per_pair or lengths.double().mean().item())
        if self.nll_weight:
            lengths = policy.plain.lengths("chosen", f"{self.loss} with nll_weight")
            losses = losses - self.nll_weight * policy.plain.chosen / lengths.clamp(min=1)
        return losses if policy.weights is None else losses * policy.weights


def _check_inputs(
    loss: str,
    traits: Traits,
    policy: PairLogps,
    reference: PairLogps | None,
    p_chosen: Tensor | None,
) -> None:
    check_combination(loss, wpo=policy.weights is not None, shortened=policy.whole is not None)
    if reference is None and traits.reference:
        raise ValueError(f"loss {loss} compares with a reference: pass one")
    if p_chosen is not None and not traits.soft_labels:
        raise ValueError(
            f"loss {loss} takes no p_chosen: only losses that are a cross-entropy of the "
            "preference can weigh both directions, sigmoid and sigmoid_norm"
        )
