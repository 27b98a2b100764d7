"""Log-probs of completions: which tokens count, and in which precision."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpo_core import PairLogps, completion_logps

VOCABULARY = 5


def _mask(lengths: list[tuple[int, int]], width: int) -> torch.Tensor:
    """True at the completion tokens of rows that are (prompt length, completion length)."""
    mask_BT = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, (prompt, completion) in enumerate(lengths):
        mask_BT[row, prompt : prompt + completion] = True
    return mask_BT


def test_sums_by_hand() -> None:
    # One prompt token, then "1 2". The logits at position 0 are log(1, 3, 4), so P(1) = 3/8; at
    # position 1 log(1, 1, 2), so P(2) = 1/2. What position 2 predicts counts for nothing.
    logits_BTV = torch.tensor([[[1.0, 3.0, 4.0], [1.0, 1.0, 2.0], [9.0, 1.0, 1.0]]]).log()
    input_ids_BT = torch.tensor([[0, 1, 2]])
    logps_B = completion_logps(logits_BTV, input_ids_BT, _mask([(1, 2)], 3))
    assert logps_B.tolist() == pytest.approx([torch.tensor(3 / 8 * 1 / 2).log().item()], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_only_completion_tokens_matter(
    lengths: list[tuple[int, int]], padding: int, seed: int
) -> None:
    """Other padding, other ids in it, other logits at the prompt and after the end: equal sums."""
    torch.manual_seed(seed)
    width = max(map(sum, lengths)) + padding
    logits_BTV = torch.randn(len(lengths), width, VOCABULARY)
    input_ids_BT = torch.randint(VOCABULARY, (len(lengths), width))
    mask_BT = _mask(lengths, width)
    logps_B = completion_logps(logits_BTV, input_ids_BT, mask_BT)

    for row, (prompt, completion) in enumerate(lengths):
        one_by_one = sum(
            logits_BTV[row, position - 1].log_softmax(-1)[input_ids_BT[row, position]].item()
            for position in range(prompt, prompt + completion)
        )
        assert logps_B[row].item() == pytest.approx(one_by_one, abs=1e-5)

    noise_BT = torch.randint(VOCABULARY, input_ids_BT.shape)
    other_ids_BT = torch.where(mask_BT, input_ids_BT, noise_BT)
    predicts_BT = torch.nn.functional.pad(mask_BT[:, 1:], (0, 1))
    other_BTV = torch.where(predicts_BT[..., None], logits_BTV, torch.randn_like(logits_BTV))
    assert torch.equal(completion_logps(other_BTV, other_ids_BT, mask_BT), logps_B)


def test_half_precision_logits_are_summed_in_float32() -> None:
    # 4,000 tokens with P = 1/2: bfloat16 sums stop growing near 256 nats. The true sum is 2,772.6.
    logits_BTV = torch.zeros(1, 4001, 2, dtype=torch.bfloat16)
    input_ids_BT = torch.zeros(1, 4001, dtype=torch.long)
    logps_B = completion_logps(logits_BTV, input_ids_BT, _mask([(1, 4000)], 4001))
    assert logps_B.dtype == torch.float32
    assert logps_B.item() == pytest.approx(-4000 * 0.69314718, rel=1e-5)


def test_gradient_reaches_only_the_logits_that_predict_completion_tokens() -> None:
    logits_BTV = torch.randn(1, 5, VOCABULARY, requires_grad=True)
    completion_logps(logits_BTV, torch.tensor([[0, 1, 2, 3, 3]]), _mask([(2, 2)], 5)).backward()
    assert logits_BTV.grad is not None
    reached = logits_BTV.grad.abs().sum(-1)[0] > 0
    assert reached.tolist() == [False, True, True, False, False]


def test_refuses_a_completion_without_a_prompt() -> None:
    with pytest.raises(ValueError, match="first token"):
        completion_logps(torch.zeros(1, 2, 3), torch.zeros(1, 2).long(), _mask([(0, 2)], 2))


def test_refuses_shapes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        completion_logps(torch.zeros(1, 2, 3), torch.zeros(1, 3).long(), _mask([(1, 2)], 3))
    with pytest.raises(ValueError, match="rejected has shape"):
        PairLogps(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"shape \(pair,\)"):
        PairLogps(torch.zeros(2, 1), torch.zeros(2, 1))


def test_a_missing_length_is_named() -> None:
    logps = PairLogps(torch.zeros(2), torch.zeros(2), rejected_lengths=torch.ones(2))
    assert logps.lengths("rejected", "simpo").tolist() == [1, 1]
    with pytest.raises(ValueError, match="loss simpo needs chosen_lengths"):
        logps.lengths("chosen", "simpo")


def test_records_and_config_load_no_torch() -> None:
    code = (
        "import sys, dpo_core, dpo_core.records, dpo_core.config, dpo_core.evaluation.statistics, "
        "dpo_core.training.jobs, dpo_core.training.metrics.curves; "
        "dir(dpo_core); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_names_are_refused_as_usual() -> None:
    import dpo_core

    assert set(dpo_core.__all__) <= set(dir(dpo_core))
    with pytest.raises(AttributeError, match="no attribute 'prefrence_loss'"):
        _ = dpo_core.prefrence_loss
