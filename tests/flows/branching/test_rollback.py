"""`ratchet rollback`: on rounds whose numbers are made up, and on a small real campaign."""

from pathlib import Path

import pytest
from rich.console import Console
from small_campaign import STEPS, Campaign
from written_rounds import made_up, rollback

from dpo_core.atomic import write_json
from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.current import PromotedPolicy, StopReason, read_current
from dpo_core.campaign.facts import find_incumbent
from dpo_core.campaign.gate_record import GateFacts
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Ledger
from dpo_core.campaign.lock import locked
from dpo_core.campaign.rollbacks import ROLLBACK, rolled_back
from dpo_core.campaign.store import Recipe
from dpo_core.errors import BadInput, CampaignLocked
from dpo_core.training.results import TrainingFacts
from reporting.as_json import as_json
from reporting.report import render_report
from reporting.summary import read_summary
from reporting.terminal import render_table


def test_the_gates_word_then_a_persons(tmp_path: Path) -> None:
    rows = [
        {"promoted": True},
        {"promoted": False},
        {"promoted": False, "gate": {"goes_on_from": 0}},
    ]
    root = tmp_path / "campaign"
    layout = made_up(root, rows).layout
    assert [find_incumbent(layout, number) for number in range(4)] == [0, 1, 1, 0]

    said = rollback(root, "--to-round", "2", "--why", "reads better")
    assert "round 4 will start from round 2's policy, instead of the base policy" in said
    assert "--set rounds=4" in said
    assert [find_incumbent(layout, number) for number in range(4)] == [0, 1, 1, 2]
    path = next(layout.round(2).glob("training-*")).relative_to(root) / "policy"
    assert read_current(layout).promoted == PromotedPolicy(2, "hash of 02", str(path))
    (entry,) = [e for e in Ledger(layout.ledger).read() if e.step == ROLLBACK]
    assert entry.facts["why"] == "reads better" and "@" in entry.facts["by"] and entry.at
    # What was promoted before is where it was.
    assert all(any(layout.round(n).glob("*/policy/weights")) for n in range(4))

    assert "round 4 starts from the base policy again" in rollback(root, "--undo")
    assert find_incumbent(layout, 3) == 0 and read_current(layout).promoted.round == 0
    assert rolled_back(Ledger(layout.ledger).read()) == []


def test_a_persons_word_counts_more_than_the_gates_stop(tmp_path: Path) -> None:
    stop = {"promoted": False, "gate": {"action": "stop", "goes_on_from": 1}, "decision": "lost"}
    store = made_up(tmp_path / "campaign", [{"promoted": True}, stop])
    root, layout = store.layout.root, store.layout
    by_gate = StopReason("gate", "lost")
    store.remember("stopped", by_gate)

    assert "ended early" not in rollback(root, "--to-round", "2")
    assert read_current(layout).stopped is None
    assert "and will again until this changes: lost" in rollback(root, "--undo")
    assert read_current(layout).stopped == by_gate

    store.remember("stopped", StopReason("money", "10 of 10 spent"))
    assert "10 of 10 spent" in rollback(root, "--to-round", "2")


def test_refusals_say_nothing_in_the_ledger(tmp_path: Path) -> None:
    store = made_up(tmp_path / "campaign", [{"promoted": True}, {"promoted": True}])
    root, layout = store.layout.root, store.layout
    trained = store.find(Recipe(1, "training", {}))
    assert trained is not None
    store.prune(trained, "policy")
    before = Ledger(layout.ledger).read()
    for arguments, message in (
        (
            ["--to-round", "3"],
            "round 3 has no policy to roll back to: round 2 is the last finished",
        ),
        (["--to-round", "2"], "round 3 starts from round 2's policy already"),
        (["--to-round", "1"], "weights of round 1's policy were removed"),
        (["--undo"], "was not rolled back"),
        ([], "give exactly one of --to-round and --undo"),
        (["--undo", "--to-round", "1"], "give exactly one of --to-round and --undo"),
    ):
        with pytest.raises(BadInput, match=message):
            rollback(root, *arguments)
    with locked(layout.lock), pytest.raises(CampaignLocked):
        rollback(root, "--to-round", "0")
    assert Ledger(layout.ledger).read() == before
    with pytest.raises(BadInput, match="no finished round"):
        rollback(made_up(tmp_path / "new", []).layout.root, "--to-round", "0")


def test_undoing_one_of_two(tmp_path: Path) -> None:
    store = made_up(tmp_path / "campaign", [{"promoted": True}])
    root = store.layout.root
    rollback(root, "--to-round", "0")
    store.run(Recipe(2, "training", {}), lambda _: StepResult(facts=TrainingFacts(policy="second")))

    def gate(folder: Path) -> StepResult:
        write_json(folder / "metrics.json", {"round": 2, "promoted": True})
        return StepResult(facts=GateFacts(promoted=True))

    store.run(Recipe(2, "gate", {}), gate)
    said = rollback(root, "--undo")
    assert "round 2 starts from round 1's policy again" in said
    assert "What started from the base policy runs again: round 2." in said


def test_the_next_round_starts_there(copy: Campaign) -> None:
    root, before = copy.layout.root, copy.entries()
    gates = find_incumbent(copy.layout, 2)
    to = 0 if gates else 1
    rollback(root, "--to-round", str(to), "--why", "\x1b[31mworse")
    done = copy.run("--set", "rounds=3")
    assert done.returncode == 0, done.stderr + done.stdout
    chosen = "round 1's policy" if to else "the base policy"
    assert f"after round 2: rolled back to {chosen}" in done.stdout
    later = copy.entries()[len(before) :]
    assert [(e.round, e.step) for e in later] == [(2, ROLLBACK), *((3, step) for step in STEPS)]
    policy = copy.artifact(to, "training" if to else "base").entry.facts["policy"]
    assert copy.artifact(3, "completions").entry.inputs["policy"] == policy

    summary = read_summary(root)
    place = f"round {to}" if to else "the base"
    said = f" rolled back to {place} on "
    console = Console(width=300)
    with console.capture() as shown:
        console.print(render_table(summary))
    assert said in shown.get() and "⟨U+001B⟩[31mworse" in shown.get()
    assert said in render_report(summary) and "\x1b" not in render_report(summary)
    (told,) = as_json(summary)["rolled_back"]
    assert (told["after"], told["to"]) == (2, to)


def test_a_branch_takes_the_rollback_along(tmp_path: Path) -> None:
    from dpo_core.campaign.branching import share

    layout = made_up(tmp_path / "campaign", [{"promoted": True}]).layout
    rollback(layout.root, "--to-round", "0")
    branch = Layout(tmp_path / "branch")
    share(layout, branch, 1)
    assert find_incumbent(branch, 1) == 0
