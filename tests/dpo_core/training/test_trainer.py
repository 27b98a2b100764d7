"""A DPO round on a tiny real model: what it trains on, what it checks, what repeats."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_core import PairLogps
from dpo_core.errors import BadInput, InvariantViolated, RatchetError
from dpo_core.hashing import policy_id
from dpo_core.loss_options import LossName, LossOptions
from dpo_core.preference.losses import PairLosses
from dpo_core.schemas import volatile_columns
from dpo_core.tables import read_rows
from dpo_core.training.checks import check_finite, check_first_step
from dpo_core.training.jobs import DpoJob
from dpo_core.training.metrics.curves import DPO_CURVE
from dpo_core.training.objective import PairMeasurements
from dpo_core.training.pairs.batching import (
    collate,
    completion_lengths,
    optimiser_steps,
)
from dpo_core.training.pairs.pair_files import load_pairs
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, load_master
from dpo_core.training.trainer import train_round

from .conftest import EOS, completion, preference, sentiment, trained_elsewhere

MakeJob = Callable[..., DpoJob]
SIGMOID = PairLosses("sigmoid", LossOptions())


def quiet(done: int, total: int, unit: str) -> None:
    pass


def _steady(path: Path) -> list[dict[str, Any]]:
    kept = [name for name in DPO_CURVE.names if name not in volatile_columns(DPO_CURVE)]
    return read_rows(path, kept)


def _logps_one_by_one(policy_dir: Path, prompt: list[int], answer: list[int]) -> float:
    """Log-prob of an answer from an unpadded forward pass of its own, nats."""
    model = AutoModelForCausalLM.from_pretrained(policy_dir, dtype=torch.float32).eval()
    with torch.no_grad():
        logps_TV = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(
        logps_TV[len(prompt) + offset - 1, token].item() for offset, token in enumerate(answer)
    )


def test_learns_to_prefer_and_starts_at_the_reference(make_job: MakeJob) -> None:
    completions, preferences = sentiment(48)
    job = make_job("round", completions, preferences, epochs=4, beta=0.1)
    result = train_round(job, quiet)
    curve = read_rows(job.curve_path)
    assert [row["step"] for row in curve] == list(range(1, 4 * 6 + 1))
    assert result.steps == len(curve) and result.pairs == 48
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-5)
    assert result.first_margin_max < 1e-4
    assert curve[0]["gradient_weight"] == pytest.approx(0.5, abs=1e-5)
    assert curve[-1]["loss"] < 0.9 * math.log(2)
    assert result.accuracy > 0.9 and result.margin > 1
    assert result.chosen_logratio - result.rejected_logratio == pytest.approx(
        result.margin, abs=1e-5
    )
    assert result.implicit_reward_chosen == pytest.approx(0.1 * result.chosen_logratio)
    assert result.policy == policy_id(job.out_dir) != result.reference_policy
    AutoTokenizer.from_pretrained(job.out_dir)


def test_flipped_preferences_go_the_other_way(make_job: MakeJob, tiny: Path) -> None:
    completions, preferences = sentiment(48)
    flipped = [preference(row["rejected"], row["chosen"]) for row in preferences]
    shift = {}
    for name, rows in (("as judged", preferences), ("flipped", flipped)):
        job = make_job(name, completions, rows, epochs=3)
        train_round(job, quiet)
        prompt, good, bad = [1, 12, 13, 16], [5, EOS], [9, EOS]  # "the film was": good, bad
        before, after = (
            _logps_one_by_one(policy, prompt, good) - _logps_one_by_one(policy, prompt, bad)
            for policy in (tiny, job.out_dir)
        )
        shift[name] = after - before
    assert shift["as judged"] > 0.5
    assert shift["flipped"] < -0.5


def test_summary_is_the_mean_over_the_last_epochs_pairs(make_job: MakeJob) -> None:
    # 11 pairs in steps of 4, 4 and 3: the pairs count the same, the steps do not.
    job = make_job("round", *sentiment(11), pairs_per_step=4, epochs=2)
    result = train_round(job, quiet)
    last = read_rows(job.curve_path)[3:]
    assert [row["pairs"] for row in last] == [4, 4, 3]
    for name in ("loss", "accuracy", "margin", "gradient_weight", "chosen_logratio"):
        by_hand = sum(row["pairs"] * row[name] for row in last) / 11
        assert getattr(result, name) == pytest.approx(by_hand, abs=1e-7)


def test_micro_batches_move_no_number(make_job: MakeJob) -> None:
    curves, weights = [], []
    for size in (400, 1, 70):
        job = make_job(f"micro-{size}", *sentiment(21), micro_batch_tokens=size, epochs=2)
        train_round(job, quiet)
        names = ["loss", "margin", "gradient_norm", "learning_rate", "pairs"]
        curves.append(np.array([[row[n] for n in names] for row in read_rows(job.curve_path)]))
        weights.append(load_file(job.out_dir / "model.safetensors"))
    for curve, weight in zip(curves[1:], weights[1:], strict=True):
        difference = np.abs(curve - curves[0])
        assert difference.max() < 1e-5 and difference.mean() < 1e-6
        for name, tensor in weight.items():
            torch.testing.assert_close(tensor, weights[0][name], rtol=0, atol=2e-5)


def test_order_of_rows_does_not_matter(make_job: MakeJob) -> None:
    completions, preferences = sentiment(20)
    one = make_job("one", completions, preferences)
    other = make_job("other", completions[::-1], preferences[::-1])
    assert train_round(one, quiet).policy == train_round(other, quiet).policy
    assert _steady(one.curve_path) == _steady(other.curve_path)


def test_epochs_and_seeds_have_orders_of_their_own(make_job: MakeJob) -> None:
    job = make_job("round", *sentiment(20))
    pairs = load_pairs(job.preferences, job.completions)
    orders = [
        [pair.pair_id for step in optimiser_steps(pairs, 8, seed, epoch) for pair in step]
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(pair.pair_id for pair in pairs)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_two_processes_train_equal_weights(make_job: MakeJob) -> None:
    """Another one and this one, whose hashes of texts differ."""
    there, here = (make_job(name, *sentiment(20), epochs=2) for name in ("there", "here"))
    found = trained_elsewhere(there)
    assert found.policy == train_round(here, lambda *_: None).policy
    assert _steady(there.curve_path) == _steady(here.curve_path)


def test_reference_is_the_policys_own_logps_of_the_sampled_ids(
    make_job: MakeJob, tiny: Path
) -> None:
    """EOS counts exactly when it was sampled; prompt and padding never do."""
    completions = [
        completion("stopped", "the film was", "very good", "stop"),
        completion("cut", "the film was", "very bad and very", "length"),
        completion("long-stopped", "the book and the story is", "quite great and fine", "stop"),
        completion("short", "the book and the story is", "dull", "stop"),
    ]
    assert [row["token_ids"][-1] == EOS for row in completions] == [True, False, True, True]
    preferences = [preference("stopped", "cut"), preference("long-stopped", "short")]
    job = make_job("round", completions, preferences)
    train_round(job, quiet)
    rows = {row["pair_id"]: row for row in read_rows(job.reference_logps_path)}
    by_id = {row["completion_id"]: row for row in completions}
    assert {row["policy"] for row in rows.values()} == {policy_id(tiny)}
    for wanted in preferences:
        for side in ("chosen", "rejected"):
            sampled = by_id[wanted[side]]
            expected = _logps_one_by_one(tiny, sampled["prompt_token_ids"], sampled["token_ids"])
            assert rows[wanted["pair_id"]][side] == pytest.approx(expected, abs=1e-4)


def test_lengths_and_masks_come_from_the_sampled_ids(make_job: MakeJob) -> None:
    completions = [
        completion("stopped", "the film was", "very good", "stop"),
        completion("cut", "the film was", "very bad and very", "length"),
    ]
    job = make_job("round", completions, [preference("stopped", "cut")])
    pairs = load_pairs(job.preferences, job.completions)
    batch = collate(pairs, torch.device("cpu"))
    assert completion_lengths(pairs, torch.device("cpu")).tolist() == [[3, 4]]
    # Prompt: BOS and three words. The chosen row ends with EOS and one place of padding.
    assert batch.completion_mask_BT.int().tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1, 1],
    ]
    assert batch.first_prediction == 3


def test_a_model_that_cannot_skip_the_head_gives_equal_logps(make_job: MakeJob, tiny: Path) -> None:
    job = make_job("round", *sentiment(6))
    model = load_master(tiny, torch.device("cpu"))
    pairs = load_pairs(job.preferences, job.completions)

    class Plain(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None: ...

        def __call__(self, **inputs: Any) -> Any:
            return model(**inputs)

    runtime = Runtime(torch.device("cpu"), torch.float32)
    skipping, plain = (PlainPath(m, runtime).logps(pairs).logps_N for m in (model, Plain()))
    torch.testing.assert_close(skipping, plain, rtol=0, atol=1e-5)


def test_warm_up_and_schedule(make_job: MakeJob) -> None:
    job = make_job("round", *sentiment(12), pairs_per_step=2, warmup_steps=2, schedule="linear")
    train_round(job, quiet)
    rates = [row["learning_rate"] / 1e-3 for row in read_rows(job.curve_path)]
    assert rates == pytest.approx([1 / 2, 1, 1, 3 / 4, 2 / 4, 1 / 4])


def test_label_smoothing_starts_at_ln_2(make_job: MakeJob) -> None:
    result = train_round(make_job("round", *sentiment(8), label_smoothing=0.2, beta=1.0), quiet)
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-4)


def test_bfloat16_computes_and_keeps_float32_weights(make_job: MakeJob) -> None:
    # At this learning rate no bfloat16 weight of size 0.02 would move: its neighbour is 6e-5 away.
    job = make_job("round", *sentiment(8), compute_dtype="bfloat16", learning_rate=1e-6)
    result = train_round(job, quiet)
    assert result.dtype == "bfloat16" and result.policy != result.reference_policy
    saved = load_file(job.out_dir / "model.safetensors").values()
    assert {tensor.dtype for tensor in saved} == {torch.float32}


@pytest.mark.parametrize("path", ["fast", "plain"])
def test_soft_labels_are_trained_on(make_job: MakeJob, path: str) -> None:
    completions, preferences = sentiment(8)
    soft = [{**row, "p_chosen": 0.75} for row in preferences]
    result = train_round(make_job("soft", completions, soft, path=path, epochs=2), quiet)
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-4)
    smoothed = make_job("smoothed", completions, preferences, label_smoothing=0.25, epochs=2)
    assert result.loss == pytest.approx(train_round(smoothed, quiet).loss, abs=1e-5)


def test_soft_labels_are_refused_where_a_loss_cannot_take_them(make_job: MakeJob) -> None:
    completions, _ = sentiment(2)
    soft = [preference("good-0", "bad-0", 0.7)]
    with pytest.raises(BadInput, match=r"p_chosen = 0.7(.|\n)*hinge"):
        train_round(make_job("soft", completions, soft, loss="hinge"), quiet)


def test_progress_is_reported(make_job: MakeJob) -> None:
    seen: list[tuple[int, int, str]] = []
    train_round(make_job("round", *sentiment(10)), lambda d, t, u: seen.append((d, t, u)))
    assert (10, 10, "pairs, reference pass") in seen
    assert [event for event in seen if event[2] == "steps"] == [(1, 2, "steps"), (2, 2, "steps")]


def _measured(make_job: MakeJob, margin: float, loss: float = math.log(2)) -> PairMeasurements:
    job = make_job("round", *sentiment(2))
    pairs = tuple(load_pairs(job.preferences, job.completions))
    zeros, lengths = torch.zeros(2), torch.ones(2)
    policy = PairLogps(torch.tensor([0.0, margin]), zeros, lengths, lengths)
    reference = PairLogps(zeros, zeros, lengths, lengths)
    return PairMeasurements(pairs, torch.full((2,), loss), policy, reference, torch.zeros(2))


@pytest.mark.parametrize("margin", [0.01, -0.01, math.nan, math.inf])
def test_a_wrong_reference_is_an_error_that_names_the_pair(
    make_job: MakeJob, margin: float
) -> None:
    measured = _measured(make_job, margin)
    with pytest.raises(InvariantViolated, match=f"{measured.pairs[1].pair_id} has a margin of"):
        check_first_step(measured, SIGMOID, tolerance=1e-4)


def test_a_wrong_first_loss_is_an_error(make_job: MakeJob) -> None:
    with pytest.raises(InvariantViolated, match=r"is 0\.500000, but must be 0\.693147"):
        check_first_step(_measured(make_job, 0.0, loss=0.5), SIGMOID, tolerance=1e-4)


def test_numbers_that_are_not_finite_are_errors(make_job: MakeJob) -> None:
    measured = _measured(make_job, 0.0, loss=math.nan)
    with pytest.raises(InvariantViolated) as error:
        check_finite(measured, 1.0, 3, 1e-3, "sigmoid")
    for part in ("the loss of optimiser step 3", "0.001", measured.pairs[0].pair_id):
        assert part in str(error.value)


@pytest.mark.parametrize("loss", ["aot", "aot_unpaired"])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_loss_in_sorted_order_names_the_pair_that_is_not_finite(
    make_job: MakeJob, loss: LossName, bad: int
) -> None:
    """Sorting puts a NaN last, whichever pair it is of."""
    good = _measured(make_job, 0.0)
    policy = torch.zeros(2)
    policy[bad] = math.nan
    assert good.reference is not None
    sums = replace(good.policy, chosen=policy)
    losses = PairLosses(loss, LossOptions(beta=0.1))(sums, good.reference)
    assert losses.isfinite().tolist() == [True, False]
    measured = replace(good, losses=losses, policy=sums)
    with pytest.raises(InvariantViolated) as error:
        check_finite(measured, 1.0, 3, 1e-3, loss)
    right, wrong = (measured.pairs[n].pair_id for n in (bad, 1 - bad))
    assert right in str(error.value) and wrong not in str(error.value)


def test_a_gradient_that_is_not_finite_stops_the_round(make_job: MakeJob) -> None:
    job = make_job("round", *sentiment(8), learning_rate=1e30, pairs_per_step=2)
    with pytest.raises(InvariantViolated, match="is not finite"):
        train_round(job, quiet)
    assert not job.out_dir.exists()


def test_no_preferences(make_job: MakeJob) -> None:
    with pytest.raises(RatchetError, match=r"no preferences(.|\n)*pairs.min_margin"):
        train_round(make_job("round", sentiment(2)[0], []), quiet)


def test_rows_that_cannot_be_trained_on_are_refused(make_job: MakeJob) -> None:
    completions, preferences = sentiment(2)
    empty = [{**row, "prompt_token_ids": []} for row in completions]
    cases = {
        "other prompt": (completions, [preference("good-0", "bad-1")], "different prompts"),
        "missing": (completions[:-1], preferences, "which is not in"),
        "no prompt": (empty, preferences, "no tokens"),
    }
    for name, (rows, wanted, says) in cases.items():
        with pytest.raises(BadInput, match=says):
            train_round(make_job(name, rows, wanted), quiet)
