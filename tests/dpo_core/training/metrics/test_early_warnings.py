"""Each early warning is provoked by a real round that deserves it; a sound round has none."""

import logging
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dpo_core.config import TrainingConfig
from dpo_core.tables import read_rows
from dpo_core.training.jobs import DpoJob
from dpo_core.training.metrics.early_warnings import (
    CHECKS,
    WINDOW_PAIRS,
    EarlyWarning,
    History,
    Watch,
)
from dpo_core.training.trainer import train_round

from ..conftest import BAD, GOOD, WORDS, completion, preference, sentiment

MakeJob = Callable[..., DpoJob]
Rows = tuple[list[dict[str, Any]], list[dict[str, Any]]]
PAIRS = 320


def noisy(pairs: int) -> Rows:
    """Good words win three times in four; lengths, prompts and words tell nothing else."""
    chance = random.Random(3)
    completions, preferences = [], []
    for number in range(pairs):
        prompt = f"the {chance.choice(WORDS[1:4])} {chance.choice(['was', 'is'])}"
        answers = [
            " ".join([*chance.choices(["very", "quite", "and"], k=chance.randint(0, 3)), word])
            for word in (chance.choice(GOOD), chance.choice(BAD))
        ]
        if chance.random() < 0.25:
            answers.reverse()
        names = f"chosen-{number}", f"rejected-{number}"
        completions += [
            completion(name, prompt, text, "stop")
            for name, text in zip(names, answers, strict=True)
        ]
        preferences.append(preference(*names))
    return completions, preferences


def longer_wins(pairs: int) -> Rows:
    """The same words, of which the longer run is always chosen."""
    chance = random.Random(4)
    completions, preferences = [], []
    for number in range(pairs):
        words = chance.choices(WORDS, k=12)
        names = f"long-{number}", f"short-{number}"
        cut = chance.randint(1, 5)
        completions += [
            completion(names[0], "the film", " ".join(words), "stop"),
            completion(names[1], "the film", " ".join(words[:cut]), "stop"),
        ]
        preferences.append(preference(*names))
    return completions, preferences


def alike(pairs: int) -> Rows:
    """The same few words, three times as many in the rejected: pushing it down takes both along."""
    completions, preferences = [], []
    for number in range(pairs):
        words = " ".join(BAD[(number + k) % 4] for k in range(4))
        names = f"chosen-{number}", f"rejected-{number}"
        completions += [
            completion(names[0], "the film", words, "length"),
            completion(names[1], "the film", f"{words} {words} {words}", "length"),
        ]
        preferences.append(preference(*names))
    return completions, preferences


def marked(pairs: int) -> Rows:
    """Random words, but every chosen completion ends with the same one: a leak."""
    chance = random.Random(5)
    completions, preferences = [], []
    for number in range(pairs):
        names = f"chosen-{number}", f"rejected-{number}"
        for name, mark in zip(names, ("lovely", "poor"), strict=True):
            words = " ".join([*chance.choices(WORDS, k=chance.randint(1, 3)), mark])
            completions.append(completion(name, "the film", words, "stop"))
        preferences.append(preference(*names))
    return completions, preferences


def warned(job: DpoJob) -> dict[str, EarlyWarning]:
    found = train_round(job, lambda *_: None).warnings
    assert len({warning.name for warning in found}) == len(found), "each is given once"
    return {warning.name: warning for warning in found}


def test_a_sound_round_has_none(make_job: MakeJob) -> None:
    job = make_job("round", *noisy(PAIRS), beta=0.5, learning_rate=1e-3, pairs_per_step=16)
    assert warned(job) == {}
    last = read_rows(job.curve_path)[-1]
    assert last["loss"] < math.log(2) and last["margin_spread"] > 0.1, "it did learn"


PROVOKED: dict[str, tuple[Rows, dict[str, Any], str]] = {
    "chosen_falls": (
        alike(PAIRS),
        {"learning_rate": 3e-3, "beta": 0.1},
        r"nats below the reference",
    ),
    "margins_saturate": (
        sentiment(PAIRS),
        {"learning_rate": 1e-2, "beta": 2.0, "epochs": 2},
        r"the gradient weight of pairs is 0\.0",
    ),
    "length_correlates": (
        longer_wins(PAIRS),
        {"learning_rate": 1e-3, "beta": 0.5},
        r"correlation \+0\.\d+\): the policy learns to prefer longer",
    ),
    "labels_leak": (
        marked(PAIRS),
        {"learning_rate": 2e-3},
        r"accuracy is (0\.99|1\.00) in the first steps already, on \d+ pairs",
    ),
    "stuck_at_reference": (
        noisy(PAIRS),
        {"learning_rate": 1e-12},
        r"stuck at 0\.6931",
    ),
    "kl_budget_passed": (
        noisy(PAIRS),
        {"learning_rate": 3e-2, "beta": 0.001},
        r"about \d+\.\d nats per completion .* budget \d+\.\d",
    ),
}


@pytest.mark.parametrize("name", PROVOKED)
def test_each_is_provoked(make_job: MakeJob, caplog: pytest.LogCaptureFixture, name: str) -> None:
    rows, config, says = PROVOKED[name]
    job = make_job("round", *rows, **{"pairs_per_step": 16, **config})
    with caplog.at_level(logging.WARNING):
        found = warned(job)
    assert name in found
    assert re.search(says, found[name].message), found[name].message
    assert found[name].remedy.endswith(".")
    assert f"Training, step {found[name].step}: {found[name].message}" in caplog.text
    assert found[name].step < read_rows(job.curve_path)[-1]["step"], "early"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("stuck_at_reference", {"learning_rate": 1e-7}), ("kl_budget_passed", {})],
)
def test_the_value_to_try_is_a_better_one(
    make_job: MakeJob, name: str, wrong: dict[str, Any]
) -> None:
    """Typed in as the warning says it, three times at most: no change is more than it can tell."""
    rows, config, _ = PROVOKED[name]
    config = {"pairs_per_step": 16, **config, **wrong}
    for attempt in range(4):
        found = warned(make_job(f"round-{attempt}", *rows, **config))
        if name not in found:
            break
        said = re.search(r"Try training.learning_rate (\S+) \(now (\S+)\)", found[name].remedy)
        assert said is not None and float(said[2]) == config["learning_rate"]
        config = {**config, "learning_rate": float(said[1])}
    assert attempt > 0 and name not in found


def test_every_warning_is_provoked() -> None:
    assert PROVOKED.keys() == CHECKS.keys()


def test_a_reference_that_is_not_the_start_shows_from_step_one(tmp_path: Path) -> None:
    """Pairs learnt before: accuracy 1 at once, where a reset reference would have no margins."""
    known = [row(step, accuracy=1.0, margin=5.0, margin_spread=1.0) for step in range(1, 5)]
    assert "labels_leak" in names(known, steps=20)
    reset = [row(1, accuracy=1.0, margin=0.0, margin_spread=1e-5), *known[1:]]
    assert "labels_leak" not in names(reset, steps=20), "three steps are no window"
    assert "labels_leak" not in names(known, steps=3), "a second epoch says nothing of new pairs"


def test_the_budget_is_what_the_config_says() -> None:
    rows = [row(step, chosen_logratio=-0.1 * step, rejected_logratio=-0.3 * step) for step in STEPS]
    # On average −0.2 nats a step: 20 at the end of 100 steps.
    for budget, expected in ((19.0, True), (21.0, False)):
        config = TrainingConfig(kl_budget_nats=budget)
        assert ("kl_budget_passed" in names(rows, steps=100, config=config)) == expected


def test_the_way_to_another_reference_is_not_that_of_this_round() -> None:
    """5 nats from the base from the first step on, and 1 more in the round: 6 at its end."""
    rows = [
        row(step, chosen_logratio=-5 - (step - 1) / 99, rejected_logratio=-5 - (step - 1) / 99)
        for step in STEPS
    ]
    for budget, expected in ((5.9, True), (6.1, False)):
        config = TrainingConfig(kl_budget_nats=budget)
        assert ("kl_budget_passed" in names(rows, steps=100, config=config)) == expected


def test_rows_without_a_reference_pass() -> None:
    rows = [row(step, margin=None, margin_spread=None, chosen_logratio=None) for step in STEPS]
    assert names(rows, steps=20) == set()


def test_history_stays_small() -> None:
    history = History(TrainingConfig(), 10**6)
    for step in range(1, 1000):
        history.add(row(step))
        assert len(history.recent) <= WINDOW_PAIRS // 32 and len(history.opening) <= 4


STEPS = range(1, 21)


def row(step: int, **known: float | None) -> dict[str, Any]:
    """A row of the curve of a round that does well, but for what is `known`."""
    usual = {
        "loss": 0.6,
        "accuracy": 0.7,
        "margin": 1.0,
        "margin_spread": 1.0,
        "chosen_logratio": 0.5,
        "rejected_logratio": -0.5,
        "gradient_weight": 0.4,
        "length_correlation": 0.1,
        "chosen_tokens": 10.0,
        "rejected_tokens": 10.0,
    }
    return {"step": step, "pairs": 32, **usual, **known}


def names(rows: list[dict[str, Any]], steps: int, config: TrainingConfig | None = None) -> set[str]:
    watch = Watch(config or TrainingConfig(), steps)
    assert list(watch.over(rows)) == rows
    return {warning.name for warning in watch.warnings}
