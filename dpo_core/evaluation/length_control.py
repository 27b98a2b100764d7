"""Length-controlled win rate. N outcomes, n groups, R resamples."""

from collections.abc import Hashable, Sequence

import numpy as np

from dpo_core.evaluation.intervals import (
    UNKNOWN,
    Floats,
    Interval,
    finite_values,
    group_numbers,
    interval_around,
    outcome_values,
    percentile_ends,
    smooth_weights,
)
from dpo_core.evaluation.statistics import win_rate

RIDGE = 0.001
"""Penalty ½·RIDGE·(θ² + φ²) on the log-likelihood: a normal prior with a standard deviation of 32
logits. It keeps fits of separated outcomes finite and shifts others by far less than their error.
"""

_CELLS_AT_ONCE = 1 << 18
"""Resampled outcomes fitted at a time: 2 MiB for each intermediate array."""

_STEPS, _LONGEST_STEP, _PRECISION = 50, 2.0, 1e-7
"""Of Newton's method: most steps, longest step in logits, step length at which it has converged."""


FEWEST_BESIDE = 0.05
"""Share of comparisons that must have a length difference ≥ 0, and likewise ≤ 0."""


def is_extrapolated(length_difference: Sequence[float]) -> bool:
    """Whether a length-controlled win rate extrapolates beyond the comparisons.

    It is read at equal length. Where fewer than `FEWEST_BESIDE` of the first policy's answers are
    at least as long as the second's, or at most as long, its value there rests on the shape of the
    curve rather than on data.

    Args:
        length_difference: first minus second answer's length of each comparison, in any unit.

    Returns:
        True where it extrapolates; False without comparisons.

    Example:
        >>> is_extrapolated([5, 7, 9]), is_extrapolated([-5, 5])
        (True, False)
    """
    n = len(length_difference)
    longer, shorter = (sum(sign * d >= 0 for d in length_difference) for sign in (1, -1))
    return n > 0 and min(longer, shorter) < FEWEST_BESIDE * n


def length_controlled_win_rate(
    outcomes: Sequence[float],
    length_difference: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """The probability that the first policy wins between answers of equal length.

    A logistic model of the outcomes y and of Δ, the first's length minus the second's,

        P(first wins) = σ(θ + φ·tanh(Δ / sd(Δ)))

    read at Δ = 0, that is σ(θ). Δ is scaled but not centred: 0 stays "equally long". This is the
    length-controlled win rate of AlpacaEval 2 (Dubois et al. 2024, arXiv:2404.04475, section 3)
    without its term for the difficulty of each prompt, which needs the outcomes of many models.
    θ and φ maximise Σ y·log σ + (1 − y)·log(1 − σ) less a small ridge (`RIDGE`) against separation:
    where every longer answer won, φ would be infinite; where all won, θ.

    Whatever correlates with length counts as length. An answer that is better *because* it says
    more gets no more credit than one that is only longer.

    The interval is the percentile bootstrap over groups with smooth weights; the model, including
    sd(Δ), is fitted to each resample. Each resample also holds, at Δ = 0, a win and a loss with
    independent Gamma(½, 1) weights, in units of one group. Alone they would be Jeffreys' prior on
    the win rate, so comparisons that were all won leave an interval of some width, as Wilson's.

    Args:
        outcomes: in [0, 1]: 1 the first policy won, 0.5 a tie, 0 it lost; probabilities allowed.
        length_difference: Δ of each comparison, in any unit.
        groups: the prompt of each comparison; without groups every comparison is its own.
        confidence: of the interval, in (0, 1).
        resamples: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        Interval. Where all Δ are 0 it is `win_rate`. Where all Δ are equal but not 0, length cannot
        be separated from the policy, and estimate and ends are NaN.

    Raises:
        ValueError: no outcomes; outcomes outside [0, 1]; values that are not finite; lengths or
            groups of another number than outcomes; a confidence outside (0, 1).

    Example:
        >>> round(length_controlled_win_rate([1, 1, 0, 0], [9, 8, -9, -8]).estimate, 2)
        0.5
    """
    y_N, delta_N = outcome_values(outcomes, confidence), finite_values(length_difference)
    if len(y_N) != len(delta_N):
        raise ValueError(f"{len(y_N)} outcomes, but {len(delta_N)} length differences")
    number_N = group_numbers(groups, len(y_N))
    if not np.ptp(delta_N):
        if delta_N[0]:
            return UNKNOWN
        return win_rate(outcomes, groups=groups, confidence=confidence, seed=seed)
    fitted_12 = _fit(y_N, delta_N, np.ones((1, len(y_N))), np.zeros((1, 2)), np.zeros((1, 2)))
    n = int(number_N.max()) + 1
    rng = np.random.default_rng(seed)
    thetas = [
        _fit(
            y_N,
            delta_N,
            weights[:, number_N],
            rng.gamma(0.5, size=(len(weights), 2)) * len(y_N) / n,
            fitted_12,
        )[:, 0]
        for weights in smooth_weights(rng, n, resamples, max(1, _CELLS_AT_ONCE // len(y_N)))
    ]
    ends = percentile_ends(np.concatenate(thetas), n, confidence)
    return interval_around(*(float(_sigmoid(theta)) for theta in (fitted_12[0, 0], *ends)))


def _fit(
    y_N: Floats, delta_N: Floats, weights_RN: Floats, at_0_R2: Floats, start_12: Floats
) -> Floats:
    """(θ, φ) of each resample, shape (R, 2), by Newton's method from `start_12`.

    at_0_R2: weights of a win and of a loss at Δ = 0 in each resample.
    """
    x_RN = np.tanh(delta_N / _spread(delta_N, weights_RN)[:, None])
    wins_R, both_R = at_0_R2[:, 0], at_0_R2.sum(1)
    fitted_R2 = np.repeat(start_12, len(weights_RN), axis=0)
    for _ in range(_STEPS):
        theta_R, phi_R = fitted_R2.T
        p_RN, p_0_R = _sigmoid(theta_R[:, None] + phi_R[:, None] * x_RN), _sigmoid(theta_R)
        left_RN = weights_RN * (y_N - p_RN)
        slope = (
            left_RN.sum(1) + wins_R - both_R * p_0_R - RIDGE * theta_R,
            np.einsum("rn,rn->r", left_RN, x_RN) - RIDGE * phi_R,
        )
        curvature_RN = weights_RN * p_RN * (1 - p_RN)
        bent_RN = curvature_RN * x_RN
        a = curvature_RN.sum(1) + both_R * p_0_R * (1 - p_0_R) + RIDGE
        b = bent_RN.sum(1)
        c = np.einsum("rn,rn->r", bent_RN, x_RN) + RIDGE
        step = np.stack([c * slope[0] - b * slope[1], a * slope[1] - b * slope[0]], axis=1)
        step_R2 = np.clip(step / (a * c - b * b)[:, None], -_LONGEST_STEP, _LONGEST_STEP)
        fitted_R2 += step_R2
        if np.abs(step_R2).max() < _PRECISION:
            break
    return fitted_R2


def _spread(delta_N: Floats, weights_RN: Floats) -> Floats:
    """Standard deviation of the length differences in each resample, shape (R,)."""
    centred_N = delta_N - delta_N.mean()
    total_R = weights_RN.sum(1)
    spread: Floats = np.sqrt(
        weights_RN @ centred_N**2 / total_R - (weights_RN @ centred_N / total_R) ** 2
    )
    return spread


def _sigmoid(x: Floats) -> Floats:
    from scipy.special import expit

    sigmoid: Floats = expit(x)
    return sigmoid
