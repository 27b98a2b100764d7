"""The audit on the records of a real campaign: sound as they are, and with one thing wrong."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from small_campaign import Campaign

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.layout import MANIFEST
from dpo_core.errors import AuditFailed
from dpo_core.hashing import file_sha256, normalise
from dpo_core.sealed import SEAL
from flows.config import validate
from flows.round_state import Policy, RoundPreferences, TrainingData
from flows.session import Session
from flows.steps.audit import FINDINGS, audit_preferences, check_audit
from labeling.audit.checks import CHECKS
from labeling.audit.config import FindingName
from reporting.progress import CampaignProgress
from tests.resealed import reseal

Rows = list[dict[str, Any]]
FILES = {
    "held_out": "prompts.parquet",
    "prompts": "prompts.parquet",
    "completions": "completions.parquet",
    "pairs": "pairs.parquet",
    "judgements": "judgements.parquet",
    "preferences": "preferences.parquet",
}


class Round:
    """Round 1 of the small campaign as records that a test may change before they are audited."""

    def __init__(self, campaign: Campaign, folder: Path) -> None:
        self.campaign, self.folder = campaign, folder
        self.artifacts = {
            step: campaign.artifact(0 if step == "held_out" else 1, step) for step in FILES
        }
        self.rows = {
            step: pq.read_table(made.path(FILES[step])).to_pylist()
            for step, made in self.artifacts.items()
        }
        self.dropped: dict[str, tuple[int, dict[str, int]]] = {}
        self.config = yaml.safe_load(campaign.layout.config.read_text())

    def answer(self, number: int, side: str = "chosen") -> dict[str, Any]:
        wanted = self.rows["preferences"][number][side]
        return next(row for row in self.rows["completions"] if row["completion_id"] == wanted)

    def prompt(self, number: int) -> dict[str, Any]:
        wanted = self.rows["preferences"][number]["prompt_id"]
        return next(row for row in self.rows["prompts"] if row["prompt_id"] == wanted)

    def audit(self, **config: Any) -> Artifact:
        config = {**self.config, "audit": {**self.config["audit"], **config}}
        progress = CampaignProgress(Console(quiet=True), rounds=2)
        session = Session.open(self.folder / "audited", validate(config, "test"), progress)
        base = self.campaign.artifact(0, "base")
        policy = Policy(0, base.entry.facts["policy"], base.path("policy"), base)
        made = {step: self._written(step) for step in FILES}
        held_out = made.pop("held_out")
        data = TrainingData(made["preferences"], made["completions"])
        return audit_preferences(session, 1, policy, held_out, RoundPreferences(**made), data, [])

    def findings(self, **config: Any) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.audit(**config).entry.facts["findings"]
        return found

    def _written(self, step: str) -> Artifact:
        made, name = self.artifacts[step], FILES[step]
        folder = self.folder / step
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        schema = pq.read_schema(made.path(name))
        pq.write_table(pa.Table.from_pylist(self.rows[step], schema=schema), folder / name)
        outputs = {**made.entry.outputs, name: file_sha256(folder / name)}
        came_in, dropped = self.dropped.get(step, (made.entry.came_in, made.entry.dropped))
        entry = replace(made.entry, outputs=outputs, came_in=came_in, dropped=dropped)
        return Artifact(folder, entry, cached=False)


@pytest.fixture
def sound(finished: Campaign, tmp_path: Path) -> Round:
    return Round(finished, tmp_path)


BAD = (
    "identical_texts",
    "empty_answers",
    "eos_missing",
    "eos_doubled",
    "bos_missing",
    "bos_doubled",
    "contaminated",
)


def test_nothing_stops_a_sound_round(sound: Round) -> None:
    found = sound.findings()
    assert list(found) == list(CHECKS) == list(get_args(FindingName))
    assert [name for name, fact in found.items() if fact["blocks"]] == []
    assert {name: found[name]["count"] for name in BAD} == dict.fromkeys(BAD, 0)
    preferences = len(sound.rows["preferences"])
    assert {found[name]["of"] for name in BAD} == {preferences} and preferences >= 10
    check_audit(sound.audit())


def test_findings_of_the_campaign_are_in_its_ledger(finished: Campaign) -> None:
    for number in (1, 2):
        audited = finished.artifact(number, "audit")
        facts = audited.entry.facts["findings"]
        assert set(facts["ties"]) >= {"count", "share", "blocks", "examples"}
        # The judge of the small campaign likes short answers, and answers that are cut are dropped.
        assert "choose the shorter" in facts["length_skew"]["unit"]
        dropped = finished.artifact(number, "pairs").entry.dropped
        assert facts["truncated"]["count"] == dropped["truncated"] > 0
        assert audited.path(FINDINGS).exists()


def same_text(r: Round) -> None:
    r.answer(0, "rejected")["text"] = r.answer(0)["text"]


def no_text(r: Round) -> None:
    r.answer(0).update(text=" \n", token_ids=r.answer(0)["token_ids"][-1:])


def no_eos(r: Round) -> None:
    r.answer(0)["token_ids"].pop()


def two_eos(r: Round) -> None:
    r.answer(0)["token_ids"].append(r.answer(0)["token_ids"][-1])


def cut(r: Round) -> None:
    answer = r.answer(0, "rejected")
    answer.update(finish_reason="length", token_ids=answer["token_ids"][:-1])


def tie(r: Round) -> None:
    [judgement] = [
        j for j in r.rows["judgements"] if j["pair_id"] == r.rows["preferences"][0]["pair_id"]
    ]
    judgement["verdict"] = "tie"


def even(r: Round) -> None:
    r.rows["preferences"][0]["p_chosen"] = 0.5


def held_out_prompt(r: Round) -> None:
    held_out = r.rows["held_out"][0]["prompt"]
    prompt = r.prompt(0)
    prompt["prompt"] = f"  {held_out.upper()}\n"
    assert normalise(prompt["prompt"]) == normalise(held_out)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("identical_texts", same_text),
        ("empty_answers", no_text),
        ("eos_missing", no_eos),
        ("eos_doubled", two_eos),
        ("truncated", cut),
        ("ties", tie),
        ("ties", even),
        ("contaminated", held_out_prompt),
    ],
)
def test_one_bad_item_in_the_preferences_stops_the_round(
    sound: Round, name: FindingName, change: Callable[[Round], None]
) -> None:
    before = sound.findings()[name]["count"]
    change(sound)
    found = sound.findings()
    assert [n for n, fact in found.items() if fact["blocks"]] == [name]
    assert found[name]["count"] == before + 1 and found[name]["because"].startswith("1 reached")
    pair_id = sound.rows["preferences"][0]["pair_id"]
    assert found[name]["examples"][0].startswith(f"pair {pair_id}: ")
    with pytest.raises(AuditFailed) as failed:
        check_audit(sound.audit())
    for said in (name, pair_id, CHECKS[name].remedy, f"audit.allow=[{name}]", FINDINGS):
        assert said in str(failed.value)
    check_audit(sound.audit(allow=[name]))
    assert sound.findings(allow=[name])[name]["count"] == before + 1


def test_an_audit_that_older_rules_stopped_is_made_again_and_others_are_not(sound: Round) -> None:
    by_older_rules = sound.audit()
    ledger = sound.folder / "audited" / "ledger.jsonl"

    def as_if_written_before(because: str) -> None:
        [entry, *_] = [json.loads(line) for line in ledger.read_text().splitlines()]
        entry.pop(SEAL, None)  # there was none either
        entry["facts"].pop("rules", None)
        entry["facts"]["findings"]["bos_doubled"] |= {"because": because, "blocks": bool(because)}
        ledger.write_text(json.dumps(entry) + "\n")

    as_if_written_before(because="")
    assert sound.audit().entry.fingerprint == by_older_rules.entry.fingerprint
    as_if_written_before(because="1 reached the preferences")
    again = sound.audit()
    assert again.entry.fingerprint != by_older_rules.entry.fingerprint
    check_audit(again)
    assert sound.audit().cached


def test_cut_answers_may_be_kept(sound: Round) -> None:
    cut(sound)
    sound.config["pairs"]["truncated"] = "keep"
    assert not sound.findings()["truncated"]["blocks"]


def test_dropped_shares_stop_the_round_above_their_limits(sound: Round) -> None:
    count = len(sound.rows["preferences"])
    sound.dropped["pairs"] = (2 * count, {"truncated": count // 2})
    sound.dropped["preferences"] = (2 * count, {"tie": count - 2, "unreadable": 2})
    limits = {"truncated": count // 2 / (2 * count), "ties": (count - 2) / (2 * count)}
    for name, limit in {**limits, "dropped": count / (2 * count)}.items():
        key = f"max_{name}_share"
        fact = sound.findings(**{key: limit})[name]
        assert fact["share"] == pytest.approx(limit, abs=1e-6) and not fact["blocks"]
        assert sound.findings(**{key: limit - 0.01})[name]["because"].endswith(
            f"is above audit.{key}, {limit - 0.01:g}"
        )
    # Pairs that were left to people are no loss, and no part of what could be lost.
    sound.dropped["preferences"] = (2 * count, {"tie": 2, "unlabelled": count})
    fact = sound.findings()["dropped"]
    assert (fact["count"], fact["of"]) == (2, count)
    sound.dropped["preferences"] = (2 * count, {"tie": count - 2, "unreadable": 2})
    assert f"{count - 2} tie" in sound.findings()["dropped"]["examples"]


def test_near_duplicates(sound: Round) -> None:
    chosen, rejected = sound.answer(0), sound.answer(0, "rejected")
    chosen["text"] = "a fine film, and nothing was dull"  # 33 characters: 1 − 1/33 = 0.970
    rejected["text"] = "A  fine film, and nothing was full"  # one edit, case and spacing apart
    of = len(sound.rows["preferences"])
    found = sound.findings(near_duplicate_at=0.969)["near_duplicates"]
    assert (found["count"], found["of"], found["blocks"]) == (1, of, False)
    assert "similarity 0.970" in found["examples"][0]
    assert sound.findings(near_duplicate_at=0.98)["near_duplicates"]["count"] == 0
    assert sound.findings(max_near_duplicates_share=0.01)["near_duplicates"]["blocks"]


def test_words_shared_with_a_held_out_prompt(sound: Round) -> None:
    words = "one two three four five six seven eight nine ten eleven twelve"
    sound.rows["held_out"][0]["prompt"] = f"never {words}"
    sound.prompt(0)["prompt"] = f"{words} more"
    assert sound.findings()["held_out_overlap"]["count"] == 0  # 13 words in a row
    found = sound.findings(overlap_words=12)["held_out_overlap"]
    assert (found["count"], found["blocks"]) == (1, False) and words[:60] in found["examples"][0]
    assert sound.findings(overlap_words=12, max_overlap_share=0)["held_out_overlap"]["blocks"]
    # What several held-out prompts begin with is a template, and says nothing.
    sound.rows["held_out"][1]["prompt"] = f"again {words}"
    assert sound.findings(overlap_words=12)["held_out_overlap"]["count"] == 0


def test_length_skew(sound: Round) -> None:
    for number in range(len(sound.rows["preferences"])):
        chosen, rejected = sound.answer(number), sound.answer(number, "rejected")
        end = rejected["token_ids"][-1]
        chosen["token_ids"] = [end + 1] * 49 + [end]
        rejected["token_ids"] = [end + 1] * 3 + [end]
    few = sound.findings(fewest=100)["length_skew"]
    assert few["share"] == 1.0 and not few["blocks"]  # 50 tokens to 4, of too few preferences
    found = sound.findings(fewest=2)["length_skew"]
    assert found["blocks"] and "are 12.5: beyond audit.max_length_ratio, 10" in found["because"]
    assert "choose the longer" in found["unit"]
    assert not sound.findings(fewest=2, max_length_ratio=12.6)["length_skew"]["blocks"]


def test_a_judge_that_always_names_the_same_side(sound: Round) -> None:
    of = len(sound.rows["judgements"])
    for row in sound.rows["judgements"]:
        row["verdict"] = "b"
    assert not sound.findings(fewest=of + 1)["same_side"]["blocks"]
    found = sound.findings(fewest=of)["same_side"]
    assert (found["count"], found["of"], found["blocks"]) == (of, of, True)
    assert found["because"].startswith("rule:small_judge:score names one side")
    sound.rows["judgements"][0]["verdict"] = "a"
    limit = (of - 1) / of
    assert not sound.findings(fewest=of, max_same_side_share=limit)["same_side"]["blocks"]


def test_a_changed_threshold_audits_again_and_nothing_else(copy: Campaign) -> None:
    before = len(copy.entries())
    done = copy.run("--set", "audit.max_truncated_share=0.1")
    assert done.returncode == 1, done.stdout
    assert "round 1: the audit blocks training on its preferences" in done.stderr
    assert "truncated: " in done.stderr and "audit.max_truncated_share, 0.1" in done.stderr
    assert "Raise sampling.max_tokens" in done.stderr and "Traceback" not in done.stderr
    made = [(entry.round, entry.step) for entry in copy.entries()[before:]]
    assert made == [(1, "audit")], "it stopped before training"
    assert copy.artifact(1, "audit").entry.facts["findings"]["truncated"]["blocks"]
    assert copy.run().returncode == 0
    assert len(copy.entries()) == before + 1, "everything else was on disk"


def plant(campaign: Campaign, artifact: Artifact, rows: Rows) -> None:
    """Give a finished step other preferences, as if it had made them."""
    path = artifact.path("preferences.parquet")
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    planted = {**artifact.entry.outputs, path.name: file_sha256(path)}

    def change(entry: dict[str, Any]) -> None:
        if entry["fingerprint"] == artifact.entry.fingerprint:
            entry["outputs"] = planted

    for recorded in (artifact.path(MANIFEST), campaign.layout.ledger):
        reseal(recorded, change)


def test_a_planted_pair_stops_the_run_before_training_and_mending_goes_on(copy: Campaign) -> None:
    made = copy.artifact(2, "preferences")
    rows = pq.read_table(made.path("preferences.parquet")).to_pylist()
    rows[0]["rejected"] = rows[0]["chosen"]
    plant(copy, made, rows)
    before = len(copy.entries())
    stopped = copy.run()
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert "round 2: the audit blocks training on its preferences" in stopped.stderr
    said = f"identical_texts: 1 of {len(rows)} preferences; 1 reached the preferences"
    assert said in stopped.stderr and f"pair {rows[0]['pair_id']}: chosen “" in stopped.stderr
    assert "Remove these pairs where they come from." in stopped.stderr
    assert [(e.round, e.step) for e in copy.entries()[before:]] == [(2, "audit")]
    findings = copy.artifact(2, "audit").path(FINDINGS).read_text()
    assert json.loads(findings)["findings"]["identical_texts"]["blocks"]
    # Where they came from: the step is made again, and what followed it is on disk.
    made.folder.rename(made.folder.with_name("planted"))
    mended = copy.run()
    assert mended.returncode == 0, mended.stderr
    assert [(e.round, e.step) for e in copy.entries()[before + 1 :]] == [(2, "preferences")]
