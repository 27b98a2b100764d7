"""What must hold for losses whatever the numbers, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core import LOSSES, PairLogps, preference_loss
from dpo_core.loss_options import TRAITS
from dpo_core.preference.divergences import divergence_scores

NEEDED: dict[str, dict[str, Any]] = {"exo_pair": {"label_smoothing": 0.1}}
WITH_REFERENCE = [name for name, traits in TRAITS.items() if traits.reference]
OF_THE_MARGIN = ["sigmoid", "hinge", "exo_pair", "robust", "discopop"]
SMOOTHED = ["sigmoid", "sigmoid_norm", "aot", "aot_unpaired"]

numbers = st.lists(st.floats(-60, -0.01), min_size=3, max_size=3)
betas = st.floats(0.01, 2)
many = settings(max_examples=40, deadline=None)


def pairs(chosen: list[float], rejected: list[float]) -> PairLogps:
    lengths = torch.tensor([4.0, 9.0, 1.0], dtype=torch.float64)[: len(chosen)]
    values = (torch.tensor(side, dtype=torch.float64) for side in (chosen, rejected))
    return PairLogps(*values, lengths, lengths.flip(0))


def swapped(logps: PairLogps) -> PairLogps:
    return PairLogps(logps.rejected, logps.chosen, logps.rejected_lengths, logps.chosen_lengths)


@many
@given(numbers, numbers, numbers, numbers, betas, st.floats(0, 1))
@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm"])
def test_swapping_sides_flips_the_label(
    loss: str, a: list[float], b: list[float], c: list[float], d: list[float], beta: float, e: float
) -> None:
    policy, reference = pairs(a, b), pairs(c, d)
    as_is = preference_loss(policy, reference, loss=loss, beta=beta, label_smoothing=e)
    flipped = preference_loss(
        swapped(policy), swapped(reference), loss=loss, beta=beta, label_smoothing=1 - e
    )
    torch.testing.assert_close(as_is, flipped)


@many
@given(numbers, numbers, numbers, numbers, betas)
@pytest.mark.parametrize("loss", SMOOTHED)
def test_smoothing_of_a_half_takes_no_side(
    loss: str, a: list[float], b: list[float], c: list[float], d: list[float], beta: float
) -> None:
    policy, reference = pairs(a, b), pairs(c, d)
    options: dict[str, Any] = {"loss": loss, "beta": beta, "label_smoothing": 0.5}
    torch.testing.assert_close(
        preference_loss(policy, reference, **options).mean(),
        preference_loss(swapped(policy), swapped(reference), **options).mean(),
    )


@many
@given(numbers, numbers, numbers, numbers, betas, st.floats(-20, 20))
@pytest.mark.parametrize("loss", OF_THE_MARGIN)
def test_what_both_sides_gain_changes_nothing(
    loss: str, a: list[float], b: list[float], c: list[float], d: list[float], beta: float, s: float
) -> None:
    policy, reference = pairs(a, b), pairs(c, d)
    shifted = PairLogps(policy.chosen + s, policy.rejected + s)
    options = {"loss": loss, "beta": beta, **NEEDED.get(loss, {})}
    torch.testing.assert_close(
        preference_loss(policy, reference, **options),
        preference_loss(shifted, reference, **options),
    )


@many
@given(numbers, numbers, numbers, numbers, betas, st.floats(-20, 20))
@pytest.mark.parametrize("loss", WITH_REFERENCE)
def test_only_log_ratios_count(
    loss: str, a: list[float], b: list[float], c: list[float], d: list[float], beta: float, s: float
) -> None:
    """Policy and reference may both find a completion less likely: the loss stays."""
    policy, reference = pairs(a, b), pairs(c, d)
    moved = [
        PairLogps(p.chosen + s, p.rejected + s, p.chosen_lengths, p.rejected_lengths)
        for p in (policy, reference)
    ]
    options = {"loss": loss, "beta": beta, **NEEDED.get(loss, {})}
    torch.testing.assert_close(
        preference_loss(policy, reference, **options), preference_loss(*moved, **options)
    )


@many
@given(numbers, numbers, numbers, numbers)
def test_a_small_beta_is_a_straight_line_and_a_large_one_a_hinge(
    a: list[float], b: list[float], c: list[float], d: list[float]
) -> None:
    policy, reference = pairs(a, b), pairs(c, d)
    margin = (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)
    small = preference_loss(policy, reference, beta=1e-6)
    torch.testing.assert_close(small, math.log(2) - 1e-6 * margin / 2, rtol=0, atol=1e-8)
    large = preference_loss(policy, reference, beta=1e4) / 1e4
    torch.testing.assert_close(large, torch.relu(-margin), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sigmoid", math.log(2)),
        ("sigmoid_norm", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 1 / (4 * 0.2**2)),
        ("nca_pair", 2 * math.log(2)),
        ("robust", math.log(2)),
        ("bco_pair", 2 * math.log(2)),
        ("sppo_hard", 2 * (0.5 / 0.2) ** 2),
        ("aot", math.log(2)),
        ("aot_unpaired", math.log(2)),
        ("apo_zero", 1.0),
        ("apo_down", 1.0),
        ("discopop", (math.log(2) + 1) / 2),
        ("exo_pair", -math.log(2) - (math.log(0.9) + math.log(0.1)) / 2),
    ],
)
@pytest.mark.parametrize("divergence", ["reverse_kl", "js_divergence"])
def test_a_policy_that_equals_its_reference(loss: str, expected: float, divergence: Any) -> None:
    if divergence != "reverse_kl" and not TRAITS[loss].divergence:
        return
    same = pairs([-3.0, -5.0, -9.0], [-2.0, -8.0, -1.0])
    options = {"beta": 0.2, "divergence": divergence, **NEEDED.get(loss, {})}
    found = preference_loss(same, same, loss=loss, **options)
    assert found.tolist() == pytest.approx([expected] * 3)


@pytest.mark.parametrize(
    "divergence", ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
)
@pytest.mark.parametrize("side", [(1e4, 0.0), (-1e4, 0.0), (0.0, 1e4), (0.0, -1e4), (-1e4, 1e4)])
@pytest.mark.parametrize("loss", LOSSES)
def test_huge_margins_stay_finite(loss: str, side: tuple[float, float], divergence: Any) -> None:
    if divergence != "reverse_kl" and not TRAITS[loss].divergence:
        return
    chosen = torch.tensor([side[0] - 1e4], requires_grad=True)
    rejected = torch.tensor([side[1] - 1e4], requires_grad=True)
    lengths = torch.tensor([1.0])
    policy = PairLogps(chosen, rejected, lengths, lengths)
    reference = PairLogps(torch.tensor([-1e4]), torch.tensor([-1e4]))
    values = preference_loss(
        policy, reference, loss=loss, divergence=divergence, **NEEDED.get(loss, {})
    )
    values.sum().backward()
    found = [values, chosen.grad, rejected.grad]
    assert all(value is None or bool(value.isfinite().all()) for value in found)


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_alpha_divergence_lies_between_its_limits(alpha: float) -> None:
    ratios = torch.tensor([-1.5, 0.0, 0.7], dtype=torch.float64)
    expected = [(math.exp((alpha - 1) * x) - 1) / (alpha - 1) for x in ratios.tolist()]
    assert divergence_scores(ratios, "alpha_divergence", alpha).tolist() == pytest.approx(expected)
    near_one = divergence_scores(ratios, "alpha_divergence", 1 + 1e-5)
    torch.testing.assert_close(near_one, ratios, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        divergence_scores(ratios, "alpha_divergence", 0.0),
        divergence_scores(ratios, "forward_kl", 0.5),
    )


def test_simpo_by_hand() -> None:
    policy = PairLogps(*(torch.tensor([x]) for x in (-6.0, -8.0, 3.0, 2.0)))
    found = preference_loss(policy, None, loss="simpo", beta=2.0, simpo_gamma=1.0)
    assert found.item() == pytest.approx(math.log1p(math.exp(-(2.0 * (-2 + 4) - 1.0))))


def test_orpo_by_hand() -> None:
    policy = PairLogps(*(torch.tensor([x]) for x in (-1.0, -4.0, 2.0, 2.0)))
    p_w, p_l = math.exp(-0.5), math.exp(-2.0)
    log_odds = math.log(p_w / (1 - p_w)) - math.log(p_l / (1 - p_l))
    expected = 0.5 + 0.3 * math.log1p(math.exp(-log_odds))
    found = preference_loss(policy, None, loss="orpo", beta=0.3)
    assert found.item() == pytest.approx(expected)


def test_sft_counts_every_chosen_token_the_same() -> None:
    policy = PairLogps(
        torch.tensor([-2.0, -9.0]), torch.zeros(2), torch.tensor([1.0, 9.0]), torch.ones(2)
    )
    assert preference_loss(policy, None, loss="sft").mean().item() == pytest.approx(11 / 10)


def test_nll_weight_adds_the_chosen_completions_likelihood_per_token() -> None:
    policy, reference = pairs([-4.0], [-9.0]), pairs([-5.0], [-6.0])
    plain = preference_loss(policy, reference)
    with_nll = preference_loss(policy, reference, nll_weight=0.5)
    assert (with_nll - plain).item() == pytest.approx(0.5 * 4.0 / 4.0)


def test_nll_weight_is_of_the_whole_likelihood_where_the_loss_shortens_it() -> None:
    """LD-DPO with α = ½: tokens of −1, 4 chosen and 2 rejected, of which 2 are shared. Chosen
    counts −2 − ½·2 = −3, rejected −2; the chosen completion has −4 in 4 tokens, whatever counts."""
    whole = pairs([-4.0], [-2.0])
    policy = PairLogps(*(torch.tensor([x]) for x in (-3.0, -2.0)), whole=whole)
    reference = PairLogps(*(torch.tensor([x]) for x in (-3.5, -2.5)))
    assert preference_loss(policy, reference).item() == pytest.approx(math.log(2))
    found = preference_loss(policy, reference, nll_weight=0.5).item()
    assert found == pytest.approx(math.log(2) + 0.5 * 4.0 / 4.0)


@pytest.mark.parametrize("loss", ["ipo", "sigmoid_norm", "simpo", "orpo", "sft"])
def test_sums_that_leave_tokens_out_are_divided_by_none(loss: str) -> None:
    whole = pairs([-4.0], [-2.0])
    shortened = PairLogps(torch.tensor([-3.0]), torch.tensor([-2.0]), whole=whole)
    with pytest.raises(ValueError, match=rf"training.ld_alpha .* training.loss {loss} (takes|has)"):
        preference_loss(shortened, shortened.plain, loss=loss)
    with pytest.raises(ValueError, match="count some tokens less"):
        shortened.lengths("chosen", loss)
    with pytest.raises(ValueError, match="lengths in `whole` only"):
        PairLogps(whole.chosen, whole.rejected, whole.chosen_lengths, whole=whole)


@pytest.mark.parametrize("loss", TRAITS)
def test_the_order_of_pairs_moves_no_loss(loss: str) -> None:
    """… or the loss takes no weights of pairs: sorted values belong to none."""
    policy, reference = pairs([-4.0, -7.0, -1.0], [-9.0, -2.0, -3.0]), pairs([-5.0] * 3, [-4.0] * 3)
    weights = torch.tensor([0.1, 0.5, 1.0], dtype=policy.chosen.dtype)
    options = {"loss": loss, "label_smoothing": 0.1 if loss == "exo_pair" else 0.0}

    def weighted(order: list[int]) -> float:
        parts = (policy.chosen, policy.rejected, policy.chosen_lengths, policy.rejected_lengths)
        moved = PairLogps(*(part[order] for part in parts), weights=weights[order])  # type: ignore[index]
        return preference_loss(moved, reference, **options).mean().item()  # type: ignore[arg-type]

    if loss in ("aot", "aot_unpaired"):
        with pytest.raises(ValueError, match=rf"training.wpo weights pairs, but .*{loss} sorts"):
            weighted([0, 1, 2])
    else:
        assert weighted([2, 0, 1]) == pytest.approx(weighted([0, 1, 2]))


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid_norm"])
def test_soft_labels_weigh_both_directions(loss: str) -> None:
    policy, reference = pairs([-4.0, -3.0], [-9.0, -2.0]), pairs([-5.0, -4.0], [-6.0, -2.0])
    p_chosen = torch.tensor([0.7, 1.0], dtype=torch.float64)
    found = preference_loss(policy, reference, loss=loss, p_chosen=p_chosen)
    right = preference_loss(policy, reference, loss=loss)
    wrong = preference_loss(policy, reference, loss=loss, label_smoothing=1.0)
    torch.testing.assert_close(found, p_chosen * right + (1 - p_chosen) * wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "sigmoit"}, "choose one of sigmoid"),
        ({"beta": 0.0}, "beta must be greater than 0"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "hinge takes no label smoothing"),
        ({"loss": "exo_pair"}, "logarithm"),
        ({"loss": "robust", "label_smoothing": 0.5}, "divides by 1 − 2·label_smoothing"),
        ({"label_smoothing": 1.5}, "probability"),
        ({"loss": "aot", "divergence": "forward_kl"}, "no divergence other than"),
        ({"divergence": "kl"}, "no divergence 'kl'"),
        ({"loss": "discopop", "discopop_tau": 2.0}, "discopop_tau"),
        ({"loss": "ipo", "p_chosen": torch.ones(1)}, "takes no p_chosen"),
    ],
)
def test_refusals_say_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preference_loss(pairs([-1.0], [-2.0]), pairs([-1.0], [-2.0]), **options)


def test_every_loss_says_what_it_takes() -> None:
    assert list(LOSSES) == list(TRAITS)


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(ValueError, match="sigmoid needs a reference"):
        preference_loss(pairs([-1.0], [-2.0]), None)


@pytest.mark.parametrize("loss", ["ipo", "sigmoid_norm", "simpo", "orpo", "sft"])
def test_missing_lengths_are_named(loss: str) -> None:
    bare = PairLogps(torch.tensor([-1.0]), torch.tensor([-2.0]))
    with pytest.raises(ValueError, match=f"loss {loss} needs chosen_lengths"):
        preference_loss(bare, bare, loss=loss)
