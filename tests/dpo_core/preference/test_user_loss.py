"""A loss of the user: the same numbers as ours where it is ours, refused where it is none."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dpo_core import PairLogps, preference_loss
from dpo_core.errors import BadInput, ConfigError
from dpo_core.hashing import file_sha256
from dpo_core.training.jobs import DpoJob
from dpo_core.training.trainer import train_round

from ..training.conftest import make_job, sentiment, tiny  # noqa: F401

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.chdir(HERE)
    sys.modules.pop("user_losses", None)


def pairs(*margins: float) -> tuple[PairLogps, PairLogps]:
    """Policy, whose log-probs have a gradient, and reference, with these margins in nats."""
    policy = PairLogps(torch.tensor(margins, requires_grad=True), torch.zeros(len(margins)))
    return policy, PairLogps(torch.zeros(len(margins)), torch.zeros(len(margins)))


def test_a_copy_of_sigmoid_gives_its_numbers_and_gradients() -> None:
    found = []
    for loss in ("sigmoid", "user_losses:sigmoid"):
        policy, reference = pairs(2.0, 0.0, -1.0)
        losses = preference_loss(policy, reference, loss=loss, beta=0.5)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        found.append((losses.tolist(), policy.chosen.grad))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("averaged", "returned () for 3 pairs"),
        ("centred", "among 3 pairs and"),
        ("detached", "without a gradient"),
    ],
)
def test_what_is_no_loss_per_pair_is_refused(loss: str, said: str) -> None:
    policy, reference = pairs(2.0, 0.0, -1.0)
    with pytest.raises(BadInput) as refused:
        preference_loss(policy, reference, loss=f"user_losses:{loss}")
    assert said in refused.value.message and refused.value.remedy


def test_a_function_that_is_not_there_is_named() -> None:
    policy, reference = pairs(1.0)
    with pytest.raises(ConfigError, match="user_losses has no 'sigmiod'"):
        preference_loss(policy, reference, loss="user_losses:sigmiod")


def test_a_round_trains_the_same_weights(make_job: Callable[..., DpoJob]) -> None:  # noqa: F811
    rows = sentiment(24)
    jobs = [
        make_job(name, *rows, loss=loss)
        for name, loss in (("ours", "sigmoid"), ("theirs", "user_losses:sigmoid"))
    ]
    for job in jobs:
        train_round(job, lambda *_: None)
    first, second = (file_sha256(job.out_dir / "model.safetensors") for job in jobs)
    assert first == second
