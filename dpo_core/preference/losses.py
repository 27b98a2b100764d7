"""The loss of preference pairs, selected by name, with its options checked.

`pair` is the number of pairs. The margin Δ of a pair is log π(y_w)/π_ref(y_w) minus
log π(y_l)/π_ref(y_l), with y_w chosen and y_l rejected, in nats and without β.
"""

from dataclasses import dataclass

from torch import Tensor

from dpo_core.loss_options import (
    Divergence,
    LossOptions,
    Traits,
    check_combination,
    check_options,
    traits_of,
)
from dpo_core.preference.pair_logps import PairLogps
from dpo_core.preference.terms import make_terms
from dpo_core.preference.user_loss import find_loss


def margins(policy: PairLogps, reference: PairLogps) -> Tensor:
    """Margins of pairs: chosen minus rejected log-ratio.

    Args:
        policy: log-probs under the policy, nats.
        reference: log-probs under the reference, nats.

    Returns:
        (pair,) margins in nats, without β.

    Example:
        >>> from torch import tensor
        >>> margins(PairLogps(tensor([-9.0]), tensor([-11.0])), PairLogps(*tensor([[-10.0]] * 2)))
        tensor([2.])
    """
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
    """Losses of preference pairs; their mean is the loss of the pairs.

    The default, `sigmoid`, is DPO: −log σ(β·Δ), with the gradient
    −β·σ(−β·Δ)·(∇log π(y_w) − ∇log π(y_l)). Over Bradley–Terry preferences of a reward r its minimum
    is π_ref·exp(r/β)/Z (Rafailov et al. 2023, arXiv:2305.18290, equation 4). With the reference
    reset in each round, k rounds multiply to π_0·exp(k·r/β)/Z_k: the drift from π_0 adds up
    although each round looks small.

    Args:
        policy: log-probs under the policy, nats. Losses are multiplied by its `weights`, if any.
        reference: log-probs under the reference; None for sft, simpo and orpo.
        loss: a name in LOSSES, which has the equation and source of each, or the import path of
            your own (dpo_core.preference.user_loss.find_loss).
        beta: β, the strength of the pull to the reference: a small β lets the policy move far.
        label_smoothing: ε, the probability that a preference is the wrong way round.
        p_chosen: (pair,) probability that the chosen completion is the better one.
        nll_weight: α of a term −α·log π(y_w)/|y_w| that keeps chosen completions likely, Pang et
            al. 2024 (arXiv:2404.19733), equation 1. It takes the whole likelihood even where the
            loss counts only part of it.
        divergence, divergence_alpha, discopop_tau, simpo_gamma: see LossOptions.

    Returns:
        (pair,) losses.

    Raises:
        ValueError: the loss cannot take these options or inputs; the message gives the reason.

    Example:
        >>> from torch import tensor
        >>> policy = PairLogps(chosen=tensor([-9.0]), rejected=tensor([-11.0]))
        >>> reference = PairLogps(chosen=tensor([-10.0]), rejected=tensor([-10.0]))
        >>> preference_loss(policy, reference, beta=0.1)
        tensor([0.5981])
    """
    options = LossOptions(
        beta, label_smoothing, divergence, divergence_alpha, discopop_tau, simpo_gamma
    )
    return PairLosses(loss, options, nll_weight)(policy, reference, p_chosen=p_chosen)


@dataclass(frozen=True)
class PairLosses:
    """`preference_loss` with fixed options. Raises ValueError for options the loss cannot take."""

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
        """Losses of some pairs, as `preference_loss` returns them.

        Args:
            policy, reference, p_chosen: as for `preference_loss`.
            tokens_per_pair: mean number of chosen tokens over all pairs that are averaged, when
                these are only some of them; None takes it from these pairs.

        Returns:
            (pair,) losses.

        Raises:
            ValueError: the loss cannot take these inputs.
        """
        traits = traits_of(self.loss)
        _check_inputs(self.loss, traits, policy, reference, p_chosen)
        terms = make_terms(policy, reference, self.options, p_chosen)
        losses = find_loss(self.loss)(terms, self.options)
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
        raise ValueError(f"loss {loss} needs a reference: pass its log-probs")
    if p_chosen is not None and not traits.soft_labels:
        raise ValueError(
            f"loss {loss} takes no p_chosen: only sigmoid and sigmoid_norm, which are "
            "cross-entropies of the preference, can weigh both directions"
        )
