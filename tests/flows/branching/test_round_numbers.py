"""What people see and do at rounds 9/10, 99/100 and 1,000, on rounds whose numbers are made up."""

from pathlib import Path
from unittest.mock import patch

import pytest
from rich.console import Console
from written_rounds import CONFIG, made_up, rollback

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.facts import find_incumbent, valid_entries
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.recomputing import Recomputation, RecomputedStep
from dpo_core.campaign.store import Recipe, Store
from dpo_core.training.results import TrainingFacts
from flows.config import dump_config, validate
from flows.worker.runs import finished_rounds, plan_rounds
from reporting.summary import read_summary
from reporting.terminal import render_table

LAST = 1000
TRAINED = (9, 10, 99, 100, 101, LAST)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A campaign of 1,000 finished rounds, of which every one that ends in 9 was refused."""
    root = tmp_path_factory.mktemp("many") / "campaign"
    with patch("os.fsync"):  # thousands of them take minutes, and no power fails here
        rows = [{"promoted": n % 10 != 9} for n in range(1, LAST + 1)]
        layout = made_up(root, rows, TRAINED).layout
    config = dump_config(validate({**CONFIG, "rounds": LAST}, "test"))
    layout.config.write_text(config, encoding="utf-8")
    return layout


def test_all_of_them_are_finished_and_shown(layout: Layout) -> None:
    summary = read_summary(layout.root, samples=False)
    assert [row.round for row in summary.rounds] == list(range(1, LAST + 1))
    assert summary.state == "finished" and finished_rounds(layout) == LAST
    console = Console(width=200)
    with console.capture() as shown:
        console.print(render_table(summary))
    assert "finished, 1000 of 1000 rounds done" in shown.get()
    entries = valid_entries(layout, LAST)
    assert [e.round for e in entries if e.step == "gate"] == list(range(1, LAST + 1))


@pytest.mark.parametrize(
    ("number", "goes_on"), [(9, 8), (10, 10), (99, 98), (100, 100), (101, 101), (1000, 1000)]
)
def test_the_policy_that_goes_on(layout: Layout, number: int, goes_on: int) -> None:
    assert find_incumbent(layout, number) == goes_on


def test_a_schedule_goes_on_after_the_hundredth_round(layout: Layout) -> None:
    config = validate({**CONFIG, "rounds": LAST + 1}, "test")
    assert plan_rounds("append", 2, config, finished_rounds(layout), []).tag == "rounds:1001-1002"
    assert (
        plan_rounds("up_to", 1005, config, finished_rounds(layout), []).label == "rounds 1001-1005"
    )


@pytest.mark.parametrize("number", TRAINED)
def test_replay_finds_the_round_that_is_meant(layout: Layout, tmp_path: Path, number: int) -> None:
    told: list[RecomputedStep] = []
    store = Recomputation(Store(layout.root, 1), number, tmp_path / "scratch", told.append)

    def again(folder: Path) -> StepResult:
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_bytes(b"w")
        return StepResult(facts=TrainingFacts(policy="any"))

    made: Artifact = store.run(Recipe(number, "training", {}), again)
    assert made.entry.round == number
    assert [(one.step, one.found) for one in told] == [("training", "equal")]


def test_rolled_back_over_the_hundredth_round(layout: Layout) -> None:
    said = rollback(layout.root, "--to-round", "99")
    assert "round 1001 will start from round 99's policy, instead of round 1000's policy" in said
    assert find_incumbent(layout, LAST) == 99 and find_incumbent(layout, 100) == 100
    assert "round 1001 starts from round 1000's policy again" in rollback(layout.root, "--undo")
    assert find_incumbent(layout, LAST) == LAST
