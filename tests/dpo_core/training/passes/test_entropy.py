"""The policy's entropy: exact where it is watched, the same by both paths however pairs are cut."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.pairs.batching import TrainingPair
from dpo_core.training.passes import entropy
from dpo_core.training.passes.fast_path import FastPath
from dpo_core.training.passes.pass_over_pairs import PairPath, TokenLogps
from dpo_core.training.passes.plain_path import PlainPath
from dpo_core.training.runtime import Runtime, load_master
from dpo_core.training.trainer import train_round

from ..conftest import VOCABULARY, sentiment

CPU = Runtime(torch.device("cpu"), torch.float32)


def random_pairs(count: int) -> list[TrainingPair]:
    chosen = random.Random(0)

    def ids(most: int) -> list[int]:
        return chosen.choices(range(4, len(VOCABULARY)), k=chosen.randint(1, most))

    return [TrainingPair(str(i), ids(6), ids(9), ids(9)) for i in range(count)]


def test_a_uniform_row_has_log_v_and_a_certain_one_has_none() -> None:
    logits_WV = torch.zeros(2, 1000)
    logits_WV[1, 7] = 200.0  # the others underflow
    expected = [math.log(1000), 0.0]
    assert entropy.from_logits(logits_WV).tolist() == pytest.approx(expected, abs=1e-5)
    exponentials_WV = (logits_WV - logits_WV.amax(-1, keepdim=True)).exp()
    found = entropy.from_exponentials(exponentials_WV, exponentials_WV.sum(-1))
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_watched_tokens_depend_on_the_pair_alone() -> None:
    pairs = random_pairs(30)
    together = entropy.watch_mask(pairs, 4)
    assert together.tolist() == [
        value for pair in pairs for value in entropy.watch_mask([pair], 4).tolist()
    ]
    counts = [
        int(part.sum())
        for part in together.split([len(p.chosen_ids) + len(p.rejected_ids) for p in pairs])
    ]
    assert counts == [min(4, len(p.chosen_ids) + len(p.rejected_ids)) for p in pairs]


@pytest.mark.parametrize("head_rows", [512, 5])  # 5: most pairs are visited twice
def test_both_paths_measure_the_softmaxs_entropy(tiny: Path, head_rows: int) -> None:
    pairs = random_pairs(8)
    expected = one_by_one(tiny, pairs)
    watched = entropy.watch_mask(pairs, 5)
    model = load_master(tiny, CPU.device)
    plain = PlainPath(model, CPU, entropies_per_pair=5)
    found = {"plain": [plain.logps(pairs), *while_training(plain, pairs)]}
    fast = FastPath(model, CPU, head_rows=head_rows, entropies_per_pair=5)
    found["fast"] = [fast.logps(pairs), *while_training(fast, pairs)]
    for tokens in (*found["plain"], *found["fast"]):
        assert tokens.entropies_N is not None
        assert tokens.entropies_N.isfinite().tolist() == watched.tolist()
        torch.testing.assert_close(
            tokens.entropies_N[watched], expected[watched], rtol=0, atol=1e-5
        )


def while_training(path: PairPath, pairs: list[TrainingPair]) -> list[TokenLogps]:
    """What a backward pass hands to the loss, joined."""
    seen: list[TokenLogps] = []

    def slopes(_: object, tokens: TokenLogps) -> torch.Tensor:
        seen.append(tokens)
        return torch.ones_like(tokens.logps_N)

    path.backward(pairs, slopes)
    return [TokenLogps.concatenate(seen)]


def one_by_one(policy: Path, pairs: list[TrainingPair]) -> torch.Tensor:
    """(N,) entropies from unpadded passes over single sequences, by torch.distributions."""
    model = load_master(policy, CPU.device)
    found = []
    for pair in pairs:
        for ids in (pair.chosen_ids, pair.rejected_ids):
            with torch.no_grad():
                logits_TV = model(torch.tensor([pair.prompt_ids + ids])).logits[0]
            rows = logits_TV[len(pair.prompt_ids) - 1 : -1]
            found.append(torch.distributions.Categorical(logits=rows).entropy())
    return torch.cat(found)


def test_the_curve_weighs_pairs_by_their_tokens(
    make_job: Callable[..., DpoJob], tiny: Path
) -> None:
    """With as many positions as a pair may have, the estimate is the mean over all its tokens."""
    from dpo_core.training.pairs.pair_files import load_pairs

    job = make_job("round", *sentiment(2), pairs_per_step=2)  # 16 positions: all of each pair
    result = train_round(job, lambda *_: None)
    pairs = list(load_pairs(job.preferences, job.completions))
    expected = float(one_by_one(tiny, pairs).mean())
    [row] = read_rows(job.curve_path)
    assert row["entropy"] == pytest.approx(expected, abs=1e-5)
    assert result.entropy == row["entropy"]


@pytest.mark.parametrize("loss", ["sigmoid", "aot"])
def test_cutting_moves_no_entropy(make_job: Callable[..., DpoJob], loss: str) -> None:
    found = []
    for name, cut in (
        ("plain", {"path": "plain", "micro_batch_tokens": 200}),
        ("fast", {"path": "fast", "micro_batch_tokens": 1}),
    ):
        job = make_job(name, *sentiment(21), loss=loss, **cut)
        train_round(job, lambda *_: None)
        found.append([row["entropy"] for row in read_rows(job.curve_path)])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert all(1 < value < math.log(len(VOCABULARY)) for value in found[0])
