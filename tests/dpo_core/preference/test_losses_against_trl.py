"""Every loss against TRL's own `_compute_loss`: values and gradients in float32.

TRL's loss stands in a method of its trainer that calls the model; here the "model" returns
log-probs that the test chose.
"""

from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from dpo_core import PairLogps, preference_loss
from dpo_core.preference.pair_logps import length_desensitised_sums, wpo_weights

PAIRS = 7
LENGTHS = torch.tensor([3, 9, 1, 5, 5, 12, 2, 4, 2, 6, 5, 8, 3, 7])  # chosen, then rejected
LONGEST = int(LENGTHS.max())
PROMPT = 2
MASK_BL = torch.arange(LONGEST) < LENGTHS[:, None]
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}

LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "hinge": {},
    "ipo": {},
    "exo_pair": {"label_smoothing": 0.1},
    "nca_pair": {},
    "robust": {"label_smoothing": 0.2},
    "bco_pair": {},
    "sppo_hard": {},
    "aot": {"label_smoothing": 0.1},
    "aot_unpaired": {"label_smoothing": 0.1},
    "apo_zero": {},
    "apo_down": {},
    "discopop": {"discopop_tau": 0.05},
    "sft": {},
    "sigmoid_norm": {},
}
DIVERGENCES = ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
WITH_DIVERGENCE = ["sigmoid", "hinge", "ipo", "exo_pair", "robust", "discopop", "sigmoid_norm"]


def token_logps(seed: int) -> Tensor:
    """(B, L) log-probs of completion tokens, zero after each completion's end."""
    generator = torch.Generator().manual_seed(seed)
    return torch.where(MASK_BL, -2 * torch.rand(2 * PAIRS, LONGEST, generator=generator), 0.0)


def trl_loss(
    policy_BL: Tensor,
    reference_B: Tensor,
    loss: str,
    beta: float,
    options: Mapping[str, Any],
    **settings: Any,
) -> Tensor:
    """The mean loss that TRL computes from log-probs of completion tokens."""
    from trl import DPOTrainer  # which every worker would wait for while it collects

    shifted = torch.nn.functional.pad(policy_BL, (PROMPT - 1, 0))
    outputs = SimpleNamespace(
        log_probs=shifted,
        entropy=torch.zeros_like(shifted),
        mean_logits=torch.zeros_like(shifted),
        is_top1=torch.zeros_like(shifted, dtype=torch.bool),
        log_sum_sq_probs=torch.nn.functional.pad(
            settings.pop("collision", torch.zeros_like(policy_BL)), (PROMPT - 1, 0)
        ),
    )
    same = lambda value: value  # noqa: E731
    trainer = object.__new__(DPOTrainer)
    attributes = {
        "model": SimpleNamespace(training=True),
        "accelerator": SimpleNamespace(
            device=torch.device("cpu"), gather=same, gather_for_metrics=same
        ),
        "args": SimpleNamespace(discopop_tau=options.get("discopop_tau", 0.05)),
        "aux_loss_enabled": False,
        "ld_alpha": None,
        "precompute_ref_logps": True,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
        "loss_types": [loss],
        "loss_weights": [1.0],
        "beta": beta,
        "label_smoothing": options.get("label_smoothing", 0.0),
        "use_weighting": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
        **settings,
    }
    vars(trainer).update(attributes)
    ids = torch.zeros(2 * PAIRS, PROMPT + LONGEST, dtype=torch.long)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": torch.nn.functional.pad(MASK_BL.long(), (PROMPT, 0)),
        "ref_chosen_logps": reference_B[:PAIRS],
        "ref_rejected_logps": reference_B[PAIRS:],
    }
    return trainer._compute_loss(lambda **_: outputs, inputs, return_outputs=False)


def pairs(sums_B: Tensor, weights: Tensor | None = None) -> PairLogps:
    return PairLogps(*sums_B.chunk(2), *LENGTHS.chunk(2), weights=weights)


def by_pair(values_B: Tensor) -> Tensor:
    """(pair, 2, …) of values whose first half belongs to chosen completions."""
    return torch.stack(values_B.chunk(2), 1)


def compare(ours: Tensor, theirs: Tensor, tokens: tuple[Tensor, Tensor]) -> None:
    """Equal values, and equal gradients with respect to each one's token log-probs."""
    torch.testing.assert_close(ours, theirs, **TOLERANCE)
    gradients = [
        torch.autograd.grad(loss, leaf)[0]
        for loss, leaf in zip((ours, theirs), tokens, strict=True)
    ]
    torch.testing.assert_close(*(torch.where(MASK_BL, g, 0.0) for g in gradients), **TOLERANCE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize("loss", LOSSES)
def test_loss_is_trls(loss: str, beta: float, seed: int) -> None:
    options = LOSSES[loss]
    reference_B = token_logps(100 + seed).sum(-1)
    ours, theirs = (token_logps(seed).requires_grad_() for _ in range(2))
    found = preference_loss(
        pairs(ours.sum(-1)), pairs(reference_B), loss=loss, beta=beta, **options
    )
    compare(found.mean(), trl_loss(theirs, reference_B, loss, beta, options), (ours, theirs))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("loss", WITH_DIVERGENCE)
def test_divergence_is_trls(loss: str, divergence: str) -> None:
    options = LOSSES[loss]
    reference_B = token_logps(100).sum(-1)
    ours, theirs = (token_logps(0).requires_grad_() for _ in range(2))
    found = preference_loss(
        pairs(ours.sum(-1)), pairs(reference_B), loss=loss, divergence=divergence, **options
    )
    expected = trl_loss(theirs, reference_B, loss, 0.1, options, f_divergence_type=divergence)
    compare(found.mean(), expected, (ours, theirs))


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_length_desensitised_sums_are_trls(alpha: float) -> None:
    reference_B = token_logps(100).sum(-1)
    ours, theirs = (token_logps(0).requires_grad_() for _ in range(2))
    sums_P2 = length_desensitised_sums(by_pair(ours), by_pair(LENGTHS), alpha)
    found = preference_loss(pairs(sums_P2.T.flatten()), pairs(reference_B))
    compare(
        found.mean(),
        trl_loss(theirs, reference_B, "sigmoid", 0.1, {}, ld_alpha=alpha),
        (ours, theirs),
    )


def test_wpo_weights_are_trls() -> None:
    reference_B, collision_BL = token_logps(100).sum(-1), token_logps(50)
    ours, theirs = (token_logps(0).requires_grad_() for _ in range(2))
    weights = wpo_weights(by_pair(ours), by_pair(collision_BL), by_pair(LENGTHS))
    found = preference_loss(pairs(ours.sum(-1), weights), pairs(reference_B))
    expected = trl_loss(
        theirs, reference_B, "sigmoid", 0.1, {}, use_weighting=True, collision=collision_BL
    )
    compare(found.mean(), expected, (ours, theirs))
