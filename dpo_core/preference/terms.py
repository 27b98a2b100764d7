"""Inputs of the losses: log-ratios and scores of pairs, from log-probs of policy and reference."""

from dataclasses import dataclass

from torch import Tensor

from dpo_core.loss_options import LossOptions
from dpo_core.preference.divergences import divergence_scores
from dpo_core.preference.pair_logps import PairLogps


@dataclass(frozen=True)
class Terms:
    """Inputs of a loss, each (pair,), nats. Without a reference, log-ratios are log-probs.

    p_chosen: probability that the chosen completion is the better one; None means 1.
    """

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
        """(pair,) chosen minus rejected score, each per token of its completion.

        Raises ValueError when the policy's log-probs have no lengths; `loss` is named in it.
        """
        chosen = self.chosen_score / self.policy.lengths("chosen", loss).clamp(min=1)
        return chosen - self.rejected_score / self.policy.lengths("rejected", loss).clamp(min=1)


def make_terms(
    policy: PairLogps,
    reference: PairLogps | None,
    options: LossOptions,
    p_chosen: Tensor | None = None,
) -> Terms:
    """Compute the inputs of the loss functions.

    Args:
        policy: log-probs under the policy.
        reference: log-probs under the reference; None for losses that use none.
        options: `divergence` and `divergence_alpha` turn log-ratios into scores.
        p_chosen: (pair,) probability that the chosen completion is the better one.

    Returns:
        Terms whose tensors have shape (pair,).

    Raises:
        ValueError: the divergence is unknown.
    """
    if reference is None:
        chosen, rejected = policy.chosen, policy.rejected
    else:
        chosen, rejected = policy.chosen - reference.chosen, policy.rejected - reference.rejected
    chosen_score, rejected_score = (
        divergence_scores(ratios, options.divergence, options.divergence_alpha)
        for ratios in (chosen, rejected)
    )
    return Terms(policy, chosen, rejected, chosen_score, rejected_score, p_chosen)
