"""A round whose labels are turned round: the gate refuses it, rolls back, and nothing is lost."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from planted import copied, forget_after, killed_after, scores, turn_labels_round
from small_campaign import Campaign

from dpo_core.campaign.current import read_current
from dpo_core.evaluation.statistics import mean_interval

ANY = ("--set", "gate.use=estimate", "--set", "gate.threshold=0", "--set", "gate.otherwise=keep")


def row(campaign: Campaign, number: int) -> dict[str, Any]:
    text = campaign.artifact(number, "gate").path("metrics.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def gain(campaign: Campaign, number: int, other: Campaign, instead: int) -> tuple[float, ...]:
    """By how much the judge scores round `number`'s answers above those of another campaign's
    round `instead`, on the same prompts: low, estimate, high."""
    ours, theirs = scores(campaign, number), scores(other, instead)
    found = mean_interval([ours[p] - theirs[p] for p in theirs], resamples=2000)
    print(f"{np.mean(list(ours.values())):.3f} against {np.mean(list(theirs.values())):.3f}", found)
    return found.low, found.estimate, found.high


def test_a_bad_round_is_refused_and_the_campaign_ends_as_well_as_without_it(
    improving: Campaign, tmp_path: Path
) -> None:
    """Round 2 of `improving` is the round that comes where the bad one was not."""
    planted = copied(improving, tmp_path / "planted")
    forget_after(planted, 2, "preferences")
    assert turn_labels_round(planted, 2) == row(improving, 2)["pairs"]
    killed_after(planted, 2, "gate", "--set", "rounds=3")  # rolled back, and the power is gone
    ungated = copied(planted, tmp_path / "ungated")
    done = planted.run("--set", "rounds=3")
    assert done.returncode == 0, done.stderr

    bad, after = row(planted, 2), row(planted, 3)
    assert bad["gate"]["action"] == "rollback" and not bad["promoted"]
    assert bad["win_rate_gate_high"] < 0.5, "it is worse, beyond doubt"
    [check] = bad["gate"]["checks"]
    assert check["name"] == "win_rate_gate_low" and not check["passed"]
    said = "not promoted, rolled back to round 1: lower bound "
    assert bad["decision"].startswith(said)
    assert "round 1 is the best so far, with lower bound" in bad["decision"]
    entry = next(e for e in planted.entries() if (e.round, e.step) == (2, "gate"))
    assert entry.facts["gate"] == {name: bad["gate"][name] for name in entry.facts["gate"]}
    shown = " ".join(planted.ratchet("status", "campaign").stdout.split())
    assert "of the gate win rate" in shown

    # What comes next begins where the campaign would stand without the bad round ...
    start = row(improving, 1)["policy"]
    assert after["previous_policy"] == start == row(improving, 2)["previous_policy"]
    assert after["promoted"] and read_current(planted.layout).promoted.round == 3
    # ... and ends as well: not worse than the good round beyond what prompts and seeds differ in,
    _, estimate, high = gain(planted, 3, improving, 2)
    assert high > 0 and estimate > -0.5
    # clearly better than the round that the gate kept out, and better than what would have come.
    assert gain(planted, 3, planted, 2)[0] > 0
    done = ungated.run("--set", "rounds=3", *ANY)
    assert done.returncode == 0, done.stderr
    assert row(ungated, 3)["previous_policy"] == row(ungated, 2)["policy"] == bad["policy"]
    assert gain(planted, 3, ungated, 3)[1] > 0
