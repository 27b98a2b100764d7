"""What the gate's decisions do to a campaign: attempts, questions, endings."""

import json
from pathlib import Path

import pytest
import yaml
from planted import copied, killed_after
from small_campaign import RUN, Campaign
from test_planted import row

from dpo_core.campaign.current import read_current, write_current
from dpo_core.campaign.layout import Layout
from dpo_core.errors import RatchetError
from flows import cli
from flows.config import CampaignConfig
from flows.operations.decide import decide_campaign
from flows.people import can_resume

NEVER = ("--set", "gate.threshold=1")
RETRY = (
    *NEVER,
    "--set",
    "rounds=1",
    "--set",
    "gate.otherwise=retry",
    "--set",
    "gate.retry={changes: [{training.beta: 2x}], then: rollback}",
)
ASK = (*NEVER, "--set", "gate.otherwise=ask")


@pytest.fixture
def copy(improving: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    made = copied(improving, tmp_path / "copy")
    monkeypatch.chdir(made.folder)
    return made


def ratchet(*arguments: str) -> int:
    """The exit code of a command that starts no child: so it may run in this process."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["ratchet", *arguments])
            cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_an_attempt_survives_a_kill_and_runs_only_what_depends_on_its_change(
    copy: Campaign,
) -> None:
    before = len(copy.entries())
    killed_after(copy, 1, "training", *RETRY)
    done = copy.run(*RETRY)
    assert done.returncode == 0, done.stderr
    assert "round 1: attempt 2 of 2 under training.beta: 0.5 → 1.0" in done.stdout
    made = copy.entries()[before:]
    assert [entry.step for entry in made] == [
        "gate",
        *("training", "answers", "answer_scores", "answer_logps", "evaluation", "gate"),
    ]
    first, last = made[0].facts["gate"], made[-1].facts["gate"]
    assert (first["action"], first["attempt"], first["goes_on_from"]) == ("retry", 1, 0)
    assert (last["action"], last["attempt"], last["goes_on_from"]) == ("rollback", 2, 0)
    assert "attempt 2 of 2" in last["reasons"]
    found = row(copy, 1)
    assert found["gate"]["changes"] == ["training.beta: 0.5 → 1.0"]
    [tried] = found["gate"]["tried"]
    assert tried["decision"].startswith("refused and tried again: lower bound ")
    assert found["policy"] == copy.artifact(1, "training").entry.facts["policy"]
    assert read_current(copy.layout).promoted.round == 0
    assert yaml.safe_load(copy.layout.config.read_text())["training"]["beta"] == 0.5

    ledger, current = copy.layout.ledger.read_bytes(), copy.layout.current.read_bytes()
    assert ratchet(*RUN, *RETRY) == 0
    assert copy.layout.ledger.read_bytes() == ledger
    assert copy.layout.current.read_bytes() == current


def test_a_person_is_asked_and_answers(copy: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    one = (*ASK, "--set", "rounds=1")
    assert ratchet(*RUN, *one) == 75
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith("round 1 needs your decision: lower bound ")
    assert "`ratchet decide campaign --promote` or `ratchet decide campaign --keep`" in said
    assert said.endswith(f"; then type: ratchet {' '.join(RUN)} {cli.shlex.join(one)}")
    assert ratchet("status", "campaign", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "waiting" and told["doing"].startswith("round 1 needs your decision")
    assert "needs your decision: lower bound" in copy.layout.report.read_text()
    assert row(copy, 1)["gate"]["action"] == "ask"
    assert ratchet(*RUN, *one) == 75, "nobody has answered"
    capsys.readouterr()
    assert ratchet("replay", "campaign", "--round", "1") == 2
    assert "round 1 of campaign is not finished" in capsys.readouterr().err

    assert ratchet("decide", "campaign") == 2
    assert ratchet("decide", "campaign", "--promote", "--by", "anna", "--reason", "they do") == 0
    assert ratchet("decide", "campaign", "--keep") == 2, "it asks no longer"
    assert "needs no decision" in capsys.readouterr().err
    assert ratchet(*RUN, *one) == 0
    found = row(copy, 1)
    assert found["promoted"] and found["decision"].startswith("promoted: decided by anna on 20")
    entry = copy.entries()[-1]
    assert (entry.step, entry.facts["answer"]["by"]) == ("gate", "anna")
    assert entry.facts["answer"]["at"].endswith("+00:00")
    copy.layout.decisions.unlink()  # what was taken over is in the ledger
    assert ratchet(*RUN, *one) == 0
    assert copy.entries()[-1] == entry


def test_a_run_that_stays_goes_on_after_a_no(
    copy: Campaign, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []

    def answered_after_a_look(layout: Layout, config: CampaignConfig) -> bool:
        if looks:
            decide_campaign(layout.root, promote=False, reason="", by="ben")
        looks.append(can_resume(layout, config))
        return looks[-1]

    monkeypatch.setattr("flows.run.can_resume", answered_after_a_look)
    assert ratchet(*RUN, *ASK, "--set", "rounds=1", "--wait") == 0
    assert looks == [False, True]
    shown = capsys.readouterr().out
    assert "checks every 1 s" in shown and "resuming" in shown
    assert row(copy, 1)["decision"].startswith(
        "not promoted, the base stays current: decided by ben on"
    )


def test_the_gate_may_end_the_campaign(copy: Campaign, capsys: pytest.CaptureFixture[str]) -> None:
    before = row(copy, 2)["gate"]
    stop = (*NEVER, "--set", "gate.otherwise=stop")
    assert ratchet(*RUN, *stop) == 0
    assert (
        "the campaign ends here: not promoted, campaign ended, the base" in capsys.readouterr().out
    )
    stopped = read_current(copy.layout).stopped
    assert stopped is not None
    assert stopped.rule == "gate" and "of the gate win rate" in stopped.sentence
    assert ratchet("status", "campaign") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "small: finished, 1 of 2 rounds done" in shown and stopped.sentence in shown
    # Without the rule the rounds are as they were, all from disk.
    assert ratchet(*RUN) == 0
    assert read_current(copy.layout).stopped is None
    assert row(copy, 2)["gate"] == before


@pytest.mark.parametrize(
    ("rule", "setting", "said"),
    [
        ("hours", "stop.hours=1.0e-6", "of 1e-06 hours used"),
        ("labels", "stop.labels=64", "labels used"),
        (
            "plateau",
            "stop.plateau={rounds: 1, gain: 0.9}",
            "no promoted policy gained more than 90 points",
        ),
    ],
)
def test_a_spent_budget_ends_the_campaign_until_it_is_raised(
    copy: Campaign, capsys: pytest.CaptureFixture[str], rule: str, setting: str, said: str
) -> None:
    state = read_current(copy.layout)
    before = {name: steps for name, steps in state.rounds.items() if name != "02"}
    assert row(copy, 1)["promoted"], "whether round 2 is depends on the processor"
    write_current(copy.layout, state.with_fact("rounds", before))  # round 2 has not begun
    ledger = copy.layout.ledger.read_bytes()
    assert ratchet(*RUN, "--set", setting) == 0
    assert said in capsys.readouterr().out
    assert read_current(copy.layout).stopped.rule == rule
    assert read_current(copy.layout).promoted.round == 1
    assert ratchet("status", "campaign", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["state"] == "finished" and told["stopped"]["rule"] == rule
    assert ratchet(*RUN) == 0, "the same, with more to spend"
    assert read_current(copy.layout).promoted == state.promoted
    assert read_current(copy.layout).stopped is None
    assert copy.layout.ledger.read_bytes() == ledger


def test_there_is_nothing_to_decide_about_other_campaigns(copy: Campaign) -> None:
    with pytest.raises(RatchetError, match="needs no decision: it is not waiting"):
        decide_campaign(copy.layout.root, promote=True, reason="", by="anna")
