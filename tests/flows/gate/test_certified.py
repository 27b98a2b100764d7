"""A certified campaign: what it compares, what it counts, and what it says when prompts run out.

Its policies hardly learn anything. Half of the comparisons won is more than the 0.1 that is asked
for here, so each is better than that.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from planted import copied, forget_after
from small_campaign import UNTRAINED, Campaign
from test_actions import ratchet
from test_planted import row

from dpo_core.campaign.branching import InheritedAccount, read_origin
from dpo_core.campaign.ledger import Entry
from dpo_core.evaluation.certification import evidence
from dpo_core.tables import read_rows
from flows.steps.gate_pool import POOL

ANSWERS = "completions.parquet"

JUDGE = """
from zlib import crc32

def score(completions):
    '''Other answers have other scores, so that every round has pairs on every processor.'''
    return [float(crc32(c.text.encode()) % 1000) for c in completions]
"""

CERTIFIED: dict[str, Any] = {
    **UNTRAINED,
    "name": "certified",
    "rounds": 3,
    "prompts": {"path": "prompts.jsonl", "per_round": 8},
    "sft": {"path": "sft.jsonl", "steps": 1, "batch_size": 4},
    "judge": {"function": "small_judge:score"},
    "evaluation": {"gate_prompts": 24, "test_prompts": 8, "bootstrap_resamples": 100},
    "gate": {"false_promotions": 0.05, "threshold": 0.1},
}


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("certified") / "one"
    folder.mkdir()
    campaign = Campaign.create(folder)
    (folder / "small_judge.py").write_text(JUDGE, encoding="utf-8")
    path = folder / "prompts.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    sft = [json.dumps({**row, "completion": " fine."}) for row in rows]
    (folder / "sft.jsonl").write_text("\n".join(sft), encoding="utf-8")
    config = {**CERTIFIED, "prompts": {**CERTIFIED["prompts"], "path": str(path)}}
    config["sft"] = {**CERTIFIED["sft"], "path": str(folder / "sft.jsonl")}
    (folder / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    done = campaign.run()
    assert done.returncode == 0, done.stderr + done.stdout
    campaign.keep_output(done.stdout)
    return campaign


def certificates(campaign: Campaign) -> list[Entry]:
    return [entry for entry in campaign.entries() if entry.step == "certificate"]


def test_each_decision_takes_prompts_that_were_not_used_until_too_few_are_left(
    certified: Campaign,
) -> None:
    pool = [r["prompt_id"] for r in read_rows(certified.artifact(0, "gate_pool").path(POOL))]
    held = read_rows(certified.artifact(0, "held_out").path("prompts.parquet"))
    assert pool[:24] == [r["prompt_id"] for r in held if r["split"] == "gate"]
    assert 48 <= len(pool) < 72 and len(set(pool)) == len(pool)

    first, second, third = (made.facts for made in certificates(certified))
    assert (first["start"], first["prompts"], first["certified"]) == (0, 24, True)
    assert (second["start"], second["prompts"], second["certified"]) == (24, 24, True)
    assert not third["certified"]
    assert [first["decision"], second["decision"]] == [1, 2]
    assert first["alpha"] == second["alpha"] == pytest.approx(0.9 * 0.05 / 3)
    compared = read_rows(certified.artifact(2, "evaluation_gate_24").path("outcomes.parquet"))
    assert [r["prompt_id"] for r in compared] == pool[24:48]
    units = [0.0 if r["outcome"] is None else r["outcome"] for r in compared]
    assert second["log_e"] == pytest.approx(evidence(units, 0.1).log_e)
    assert [row(certified, n)["promoted"] for n in (1, 2, 3)] == [True, True, True]
    checks = [[c["name"] for c in row(certified, n)["gate"]["checks"]] for n in (1, 2, 3)]
    by_test = [("log_e" in names, "win_rate_gate_low" in names) for names in checks]
    assert by_test == [(True, False), (True, False), (False, True)]


def test_no_training_sees_a_gate_prompt(certified: Campaign) -> None:
    pool = {r["prompt_id"] for r in read_rows(certified.artifact(0, "gate_pool").path(POOL))}
    base = certified.artifact(0, "base").entry
    assert base.dropped["held_out"] == len(pool) + 8, "of the test"
    for number in (1, 2, 3):
        drawn = read_rows(certified.artifact(number, "prompts").path("prompts.parquet"))
        assert pool.isdisjoint(r["prompt_id"] for r in drawn)


def test_status_and_its_json_say_what_is_certified(
    certified: Campaign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(certified.output.split())
    assert "any of rounds 1 and 2 was promoted without being better is at most 5%" in said
    assert "Not certified from round 3 on: too few of " in said
    monkeypatch.chdir(certified.folder)
    assert ratchet("status", "campaign", "--json") == 0
    told = json.loads(capsys.readouterr().out)["certified"]
    assert [each["rests_on"] for each in told["rounds"]] == [*["certified"] * 2, "not certified"]
    assert (told["decisions"], told["planned"], told["prompts_used"]) == (2, 3, 48)
    report = certified.layout.report.read_text(encoding="utf-8")
    assert "Not certified from round 3 on" in report


def test_a_resumed_decision_repeats_no_look_and_comes_to_the_same(
    certified: Campaign, tmp_path: Path
) -> None:
    """Killed when it had compared answers to fresh prompts, and not yet said what they show."""
    killed = copied(certified, tmp_path / "killed")
    forget_after(killed, 2, "evaluation_gate_24")
    before = len(killed.entries())
    done = killed.run("--set", "rounds=2")
    assert done.returncode == 0, done.stderr
    assert [entry.step for entry in killed.entries()[before:]] == ["certificate", "gate"]
    old, new = certificates(certified)[1], certificates(killed)[1]
    assert new.outputs == old.outputs
    volatile = {"cpu_seconds": 0, "gpu_seconds": 0}
    assert {**new.facts, **volatile} == {**old.facts, **volatile}


def test_where_prompts_run_out_the_gate_set_may_be_tested_on_fresh_answers(
    certified: Campaign, tmp_path: Path
) -> None:
    copy = copied(certified, tmp_path / "on_set")
    before = len(copy.entries())
    done = copy.run("--set", "gate.when_used_up=gate_set")
    assert done.returncode == 0, done.stderr
    made = {(e.round, e.step): e for e in copy.entries()[before:]}
    assert [(n, step) for n, step in made if n < 3] == [(1, "gate"), (2, "gate")]
    facts = made[3, "certificate"].facts
    assert (facts["certified"], facts["about"], facts["decision"]) == (True, "gate_set", 3)
    pool = [r["prompt_id"] for r in read_rows(copy.artifact(0, "gate_pool").path(POOL))]
    rows = read_rows(copy.artifact(3, "evaluation_gate_set").path("outcomes.parquet"))
    assert [r["prompt_id"] for r in rows] == pool[:24]
    fresh, again = (
        {r["prompt_id"]: r["text"] for r in read_rows(copy.artifact(3, step).path(ANSWERS))}
        for step in ("answers_gate_set", "answers")
    )
    assert any(fresh[prompt] != again[prompt] for prompt in pool[:24])
    assert "Certified on the gate set alone from round 3 on" in " ".join(done.stdout.split())


def test_a_branch_inherits_what_was_used(
    certified: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = copied(certified, tmp_path / "left")
    monkeypatch.chdir(left.folder)
    assert ratchet("branch", "campaign", "--from-round", "1", "--campaign-dir", "branch") == 0
    origin = read_origin(type(left.layout)(left.folder / "branch"))
    assert origin is not None and origin.certified is not None
    assert origin.certified == InheritedAccount(decisions=2, planned=3, used=48)


def test_a_certified_round_is_computed_again_bit_by_bit(
    certified: Campaign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(certified.folder)
    assert ratchet("replay", "campaign", "--round", "2") == 0
    assert "round 2 is bit-equal" in capsys.readouterr().out
