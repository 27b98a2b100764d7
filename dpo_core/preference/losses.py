"""Preference losses: pure functions of log-probs, one number per pair.

`pair` is the number of pairs. The margin Δ of a pair is log π(y_w)/π_ref(y_w) minus
log π(y_l)/π_ref(y_l), with y_w chosen and y_l rejected, in nats and without β.
"""

from torch import Tensor
from torch.nn import functional as F

from dpo_core.preference.pair_logps import PairLogps


def margins(policy: PairLogps, reference: PairLogps) -> Tensor:
    """(pair,) chosen minus rejected log-ratio, nats, without β."""
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def preference_loss(
    policy: PairLogps,
    reference: PairLogps,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """(pair,) DPO losses in nats: −(1 − ε)·log σ(β·Δ) − ε·log σ(−β·Δ).

    β is the strength of the pull to the reference: small lets the policy move far. ε, the label
    smoothing, is the probability that the preference is the wrong way round. The gradient of the
    plain loss is −β·σ(−β·Δ)·(∇log π(y_w) − ∇log π(y_l)).

    Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 7; with ε, the conservative DPO of
    Mitchell 2023, "A note on DPO with noisy preferences", equation 3. Minimising it over
    Bradley–Terry preferences of a reward r reaches π_ref·exp(r/β)/Z (their equation 4). With the
    reference reset in each round, k rounds multiply up to π_0·exp(k·r/β)/Z_k: the drift from π_0
    adds up although each round looks small.
    """
    scaled = beta * margins(policy, reference)
    # logsigmoid neither overflows nor rounds σ to 0 first: margins of ±1e4 keep finite gradients.
    return -(1 - label_smoothing) * F.logsigmoid(scaled) - label_smoothing * F.logsigmoid(-scaled)
