"""The DPO loss and its metrics: numbers derived by hand, gradients, and the closed-form optimum."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core import PairLogps, preference_loss, preference_metrics


def _pairs(chosen: list[float], rejected: list[float]) -> PairLogps:
    return PairLogps(
        torch.tensor(chosen, dtype=torch.float64), torch.tensor(rejected, dtype=torch.float64)
    )


POLICY = _pairs([-45, -50, -48, -52], [-48, -52, -46, -55])
REFERENCE = _pairs([-46, -51, -49, -53], [-47, -51, -47, -54])
# Chosen log-ratios are 1, 1, 1, 1, rejected ones −1, −1, 1, −1, so margins are 2, 2, 0, 2.


def test_four_pairs() -> None:
    losses = preference_loss(POLICY, REFERENCE, beta=0.1)
    by_hand = [math.log1p(math.exp(-0.1 * margin)) for margin in (2, 2, 0, 2)]
    assert losses.tolist() == pytest.approx(by_hand)
    assert losses.mean().item() == pytest.approx(0.6219, abs=5e-5)


def test_four_pairs_smoothed() -> None:
    # −log σ(−x) = −log σ(x) + x, so smoothing adds ε·β·margin: 0.1 · 0.1 · 1.5 on average.
    losses = preference_loss(POLICY, REFERENCE, beta=0.1, label_smoothing=0.1)
    plain = preference_loss(POLICY, REFERENCE, beta=0.1)
    assert losses.mean().item() == pytest.approx(plain.mean().item() + 0.1 * 0.1 * 1.5)
    assert losses.mean().item() == pytest.approx(0.6369, abs=5e-5)


def test_metrics_of_four_pairs() -> None:
    metrics = preference_metrics(POLICY, REFERENCE, beta=0.1)
    assert metrics.accuracy == 0.75  # the tie, margin 0, is not correct
    assert metrics.margin == 1.5
    assert metrics.chosen_logratio == 1.0
    assert metrics.rejected_logratio == -0.5
    assert metrics.implicit_reward_chosen == pytest.approx(0.1)
    assert metrics.implicit_reward_rejected == pytest.approx(-0.05)
    weights = [1 / (1 + math.exp(0.1 * margin)) for margin in (2, 2, 0, 2)]
    assert metrics.gradient_weight == pytest.approx(sum(weights) / 4)


def test_metrics_are_weighted_by_the_policys_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0])
    policy = PairLogps(POLICY.chosen, POLICY.rejected, weights=weights)
    metrics = preference_metrics(policy, REFERENCE, beta=0.1)
    assert metrics.margin == pytest.approx((1 * 2 + 3 * 0) / 4)
    assert metrics.accuracy == 0.25


def test_metrics_of_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        preference_metrics(_pairs([], []), _pairs([], []), beta=0.1)


def test_one_pair() -> None:
    # margin = (−4.5 + 5.0) − (−4.5 + 4.0) = 1
    policy, reference = _pairs([-4.5], [-4.5]), _pairs([-5.0], [-4.0])
    loss = preference_loss(policy, reference, beta=0.1).item()
    assert loss == pytest.approx(math.log1p(math.exp(-0.1)))
    assert loss == pytest.approx(0.6444, abs=5e-5)
    weight = preference_metrics(policy, reference, beta=0.1).gradient_weight
    assert weight == pytest.approx(1 / (1 + math.exp(0.1)))
    assert weight == pytest.approx(0.4750, abs=5e-5)


@pytest.mark.parametrize(("policy", "expected"), [((0.25, 0.35), 0.6760), ((0.35, 0.05), 0.2690)])
def test_from_probabilities(policy: tuple[float, float], expected: float) -> None:
    # σ(β·margin) with β = 1/2 is √odds / (√odds + 1), odds = (0.25/0.2) / (0.35/0.3) and so on.
    reference = (0.2, 0.3)
    odds = (policy[0] / reference[0]) / (policy[1] / reference[1])
    loss = preference_loss(
        _pairs([math.log(policy[0])], [math.log(policy[1])]),
        _pairs([math.log(reference[0])], [math.log(reference[1])]),
        beta=0.5,
    ).item()
    assert loss == pytest.approx(-math.log(math.sqrt(odds) / (math.sqrt(odds) + 1)))
    assert loss == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_an_unmoved_policy_has_loss_ln_2(label_smoothing: float) -> None:
    losses = preference_loss(POLICY, POLICY, beta=0.3, label_smoothing=label_smoothing)
    assert losses.tolist() == pytest.approx([math.log(2)] * 4)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_huge_margins_stay_finite(beta: float, label_smoothing: float) -> None:
    chosen = torch.tensor([1e4, -1e4], requires_grad=True)
    policy = PairLogps(chosen, torch.zeros(2))
    reference = PairLogps(torch.zeros(2), torch.zeros(2))
    losses = preference_loss(policy, reference, beta=beta, label_smoothing=label_smoothing)
    losses.sum().backward()
    assert chosen.grad is not None
    # Far out the loss is a straight line: slope ε·β where right, −(1 − ε)·β where wrong.
    right, wrong = label_smoothing * beta, (1 - label_smoothing) * beta
    assert losses.tolist() == pytest.approx([right * 1e4, wrong * 1e4])
    assert chosen.grad.tolist() == pytest.approx([right, -wrong], abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(beta=st.floats(0.01, 2), seed=st.integers(0, 100))
def test_gradient_formula(beta: float, seed: int) -> None:
    """∇loss = −β·σ(−β·margin)·(∇log π(y_w) − ∇log π(y_l)), for a softmax over six answers."""
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(6, dtype=torch.float64, generator=generator, requires_grad=True)
    reference_logps = torch.randn(6, dtype=torch.float64, generator=generator).log_softmax(0)
    logps = theta.log_softmax(0)
    reference = PairLogps(reference_logps[1:2], reference_logps[4:5])
    policy = PairLogps(logps[1:2], logps[4:5])
    loss = preference_loss(policy, reference, beta=beta).sum()
    (found,) = torch.autograd.grad(loss, theta, retain_graph=True)

    (chosen_gradient,) = torch.autograd.grad(logps[1], theta, retain_graph=True)
    (rejected_gradient,) = torch.autograd.grad(logps[4], theta)
    margin = (logps[1] - reference_logps[1]) - (logps[4] - reference_logps[4])
    weight = 1 / (1 + math.exp(beta * margin.item()))
    expected = -beta * weight * (chosen_gradient - rejected_gradient)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


BASE = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05], dtype=torch.float64)
REWARD = torch.tensor([-0.5, 0.3, 0.0, 0.8, -0.2], dtype=torch.float64)


def _minimise(reference_logps: torch.Tensor, beta: float) -> torch.Tensor:
    """Log-probs of the softmax policy that minimises the expected loss over all ordered pairs.

    Labels are soft: of two answers, i is chosen with Bradley–Terry probability σ(r_i − r_j).
    """
    theta = reference_logps.clone().requires_grad_()
    first, second = torch.triu_indices(5, 5, offset=1)
    p_first = torch.sigmoid(REWARD[first] - REWARD[second])
    reference = PairLogps(reference_logps[first], reference_logps[second])
    optimiser = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def expected_loss() -> torch.Tensor:
        optimiser.zero_grad()
        logps = theta.log_softmax(0)
        policy = PairLogps(logps[first], logps[second])
        swapped = PairLogps(policy.rejected, policy.chosen)
        swapped_reference = PairLogps(reference.rejected, reference.chosen)
        loss = p_first * preference_loss(policy, reference, beta=beta)
        loss = loss + (1 - p_first) * preference_loss(swapped, swapped_reference, beta=beta)
        loss.mean().backward()
        return loss.mean()

    optimiser.step(expected_loss)
    return theta.detach().log_softmax(0)


def _total_variation(logps: torch.Tensor, unnormalised: torch.Tensor) -> float:
    return 0.5 * (logps.exp() - unnormalised / unnormalised.sum()).abs().sum().item()


@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_optimum_is_the_tilted_reference(beta: float) -> None:
    """π_ref·exp(r/β)/Z; small β lets the policy move far, large β keeps it close."""
    found = _minimise(BASE.log(), beta)
    assert _total_variation(found, BASE * (REWARD / beta).exp()) < 1e-3


def test_rounds_with_reset_references_add_up() -> None:
    """k rounds reach π_0·exp(k·r/β)/Z_k, so KL to the base grows though each round is held at β.

    This is why a campaign tracks the KL to π_0 and not only the one to the previous policy.
    """
    beta, logps, kls = 1.5, BASE.log(), []
    for round_number in range(1, 5):
        logps = _minimise(logps, beta)
        assert _total_variation(logps, BASE * (round_number * REWARD / beta).exp()) < 1e-3
        kls.append((logps.exp() * (logps - BASE.log())).sum().item())
    assert kls == sorted(kls)
    assert kls[-1] > 3 * kls[0]
