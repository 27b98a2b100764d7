"""People who label through Argilla over two rounds: a calibrated judge, and a person taken back.

One campaign for all tests. Ada and Bob answer every pair that they are asked about. Where the
judge's margin is large both say what it says; on the other half only Bob does, and Ada contradicts.
"""

import json
import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_campaign import STEPS, UNTRAINED, Campaign
from typer.testing import CliRunner

from dpo_core.campaign.metric_columns import drop_volatile
from dpo_core.campaign.waiting import read_waiting
from dpo_core.tables import read_rows
from flows.cli import app
from labeling.pairs.for_people import RANDOM, UNRELIABLE
from labeling.people.log import LabelLog
from labeling.people.task import choice_for
from tests.shared_argilla import SharedArgilla

sys.path.insert(0, str(Path(__file__).parents[2] / "labeling" / "people"))
from annotators import Annotator, dataset_named

WAITS = 75
ASKED = 16
WEIGHTS = {"rule": 1.0, "human:ada": 2.0, "human:bob": 2.0}
CONFIG: dict[str, Any] = {
    **UNTRAINED,
    "name": "two-people",
    "rounds": 2,
    "prompts": {"path": "prompts.jsonl", "per_round": 24},
    "judge": {
        "kind": "committee",
        "members": [
            {"kind": "rule", "function": "small_judge:score", "id": "rule"},
            {"kind": "human", "weight": 2},
        ],
    },
    "people": {"min_submitted": 2, "calibration_share": 0.25},
    "budget": {"human_labels": 2 * ASKED},
    "aggregation": {"calibrate": True, "reliable_at": 0.6, "targets": "soft"},
    "gate": {"use": "estimate", "threshold": 0.0},
    "evaluation": {"gate_prompts": 8, "test_prompts": 8, "bootstrap_resamples": 50},
}
JUDGE = """
import hashlib

def score(completions):
    '''An opinion about every text, whatever an untrained policy writes.'''
    return [int(hashlib.sha256(c.text.encode()).hexdigest()[:8], 16) / 2**32 for c in completions]
"""
TRAINED_ON = STEPS[STEPS.index("audit") :]
OTHER = {"a": "b", "b": "a"}
Rows = list[dict[str, Any]]
Preferred = tuple[str, str, float, tuple[str, ...]]
"""(pair, chosen, p_chosen, sources)"""
SAID = ("pairs", "judgements", "labels")


@dataclass(frozen=True)
class Seen:
    """The campaign at one moment."""

    fingerprints: Mapping[tuple[int, str], str]
    preferences: Mapping[int, Rows]
    status: str
    shown: Mapping[str, Any]
    entries: int


@dataclass
class Story:
    """material: round → step → its rows, when both rounds were finished for the first time."""

    campaign: Campaign
    material: dict[int, dict[str, Rows]] = field(default_factory=dict)
    facts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    files: dict[Path, bytes] = field(default_factory=dict)
    at: dict[str, Seen] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def steps(self, before: str, after: str) -> list[tuple[int, str]]:
        entries = self.campaign.entries()[self.at[before].entries : self.at[after].entries]
        return [(entry.round, entry.step) for entry in entries]


@pytest.fixture(scope="module")
def story(argilla: SharedArgilla, tmp_path_factory: pytest.TempPathFactory) -> Story:
    campaign = created(tmp_path_factory.mktemp("two-people"), argilla)
    people = [Annotator.new(argilla.access, name) for name in ("ada", "bob")]
    told = Story(campaign)
    for number in (1, 2):
        assert ran(campaign) == WAITS
        answer(campaign, number, people)
    assert ran(campaign) == 0
    told.at["finished"] = seen(campaign)
    for number in (1, 2):
        told.material[number] = {step: rows(campaign, number, step) for step in SAID}
        path = campaign.artifact(number, "labels").path("labels.parquet")
        told.files[path] = path.read_bytes()
    told.material[2]["reliability"] = rows(campaign, 2, "calibration", "reliability")
    told.facts["calibration"] = campaign.artifact(2, "calibration").entry.facts
    told.facts["dropped"] = campaign.artifact(2, "preferences").entry.dropped

    told.said["one round"] = retract(campaign, "--round", "2")
    told.at["one round"] = seen(campaign)
    assert ran(campaign) == 0
    told.at["one round, run"] = seen(campaign)

    told.said["all"] = retract(campaign)
    told.at["all"] = seen(campaign)
    assert ran(campaign) == WAITS
    told.at["all, run"] = seen(campaign)

    told.said["undone"] = retract(campaign, "--undo")
    told.at["undone"] = seen(campaign)
    assert type_what_it_says(campaign, told.at["undone"].status) == 0
    told.at["undone, run"] = seen(campaign)
    return told


def created(folder: Path, server: SharedArgilla) -> Campaign:
    campaign = Campaign.create(folder)
    (folder / "small_judge.py").write_text(JUDGE, encoding="utf-8")
    (folder / "small.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    access = server.access
    campaign.variables = {"ARGILLA_API_URL": access.url, "ARGILLA_API_KEY": access.api_key}
    return campaign


def ran(campaign: Campaign) -> int:
    done = campaign.run()
    assert done.returncode in (0, WAITS), done.stderr + done.stdout
    return done.returncode


def answer(campaign: Campaign, number: int, people: Sequence[Annotator]) -> None:
    """Both answer all that the round asks; see the module."""
    waiting = read_waiting(campaign.layout)
    assert waiting is not None and (waiting.round, waiting.missing) == (number, 2 * ASKED)
    queue = LabelLog(campaign.layout.labels(1)).read().queue
    assert waiting.url == f"{people[0].access.url}/campaign/{queue}", "one address for all rounds"
    dataset = dataset_named(people[0].access, waiting.dataset)
    asked = LabelLog(campaign.layout.labels(number)).read().asked
    says = {row["pair_id"]: row["verdict"] for row in rows(campaign, number, "judgements")}
    close = closest(campaign, number, [record.pair_id for record in asked.values()])
    for person in people:
        for record in person.queue(dataset):
            hidden = asked[record["external_id"]]
            side = says[hidden.pair_id]
            contradicts = person.name == "ada" and hidden.pair_id in close
            verdict = OTHER[side] if contradicts else side
            person.answer(record, choice_for(verdict, hidden.shown_first))


def closest(campaign: Campaign, number: int, asked: Sequence[str]) -> set[str]:
    """The half of the pairs asked about on which the judge's margin is smallest."""
    margins = {row["pair_id"]: row["margin"] for row in rows(campaign, number, "pairs")}
    return set(sorted(asked, key=lambda pair: margins[pair])[: ASKED // 2])


def rows(campaign: Campaign, number: int, step: str, name: str = "") -> Rows:
    return read_rows(campaign.artifact(number, step).path(f"{name or step}.parquet"))


def retract(campaign: Campaign, *options: str) -> str:
    return here(campaign, "labels", "retract", "campaign", "--annotator", "bob", *options)


def here(campaign: Campaign, *arguments: str) -> str:
    with chdir(campaign.folder):
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.output


def type_what_it_says(campaign: Campaign, status: str) -> int:
    """The exit code of what `ratchet status` gives to type."""
    [command] = [part for part in status.split("`") if part.startswith("ratchet run")]
    return campaign.ratchet(*shlex.split(command)[1:], "--no-prefect").returncode


def seen(campaign: Campaign) -> Seen:
    current = json.loads(campaign.layout.current.read_text(encoding="utf-8"))["rounds"]
    steps = [(int(number), step) for number, found in current.items() for step in found]
    return Seen(
        {(n, s): campaign.artifact(n, s).entry.fingerprint for n, s in steps},
        {n: rows(campaign, n, s) for n, s in steps if s == "preferences"},
        here(campaign, "status", "campaign"),
        json.loads(here(campaign, "status", "campaign", "--json")),
        len(campaign.entries()),
    )


def recounted(material: Mapping[str, Rows], without: Sequence[str] = ()) -> set[Preferred]:
    """The preferences that the votes come to, counted anew: (k + ½)/(n + 1) for k of n."""
    sides = {row["pair_id"]: row for row in material["pairs"]}
    distrusted = unreliable(material)
    votes: dict[str, dict[str, str]] = defaultdict(dict)
    for row in material["judgements"]:
        if row["pair_id"] not in distrusted:
            votes[row["pair_id"]][row["source"]] = row["verdict"]
    for row in material["labels"]:
        votes[row["pair_id"]]["human:" + row["annotator"]] = row["verdict"]
    found = set()
    for pair, said in votes.items():
        counted = {source: side for source, side in said.items() if source not in without}
        k = {x: sum(WEIGHTS[s] for s, side in counted.items() if side == x) for x in "ab"}
        if k["a"] != k["b"]:
            better = max(k, key=lambda side: k[side])
            p = (k[better] + 0.5) / (k["a"] + k["b"] + 1)
            found.add((pair, sides[pair][better], round(p, 6), tuple(sorted(counted))))
    return found


def trained_on(preferences: Rows) -> set[Preferred]:
    return {
        (row["pair_id"], row["chosen"], round(row["p_chosen"], 6), tuple(sorted(row["sources"])))
        for row in preferences
    }


def unreliable(material: Mapping[str, Rows]) -> set[str]:
    return {row["pair_id"] for row in material.get("reliability", ()) if not row["reliable"]}


def test_what_both_say_is_what_is_trained_on(story: Story) -> None:
    preferences = story.at["finished"].preferences
    for number in (1, 2):
        assert trained_on(preferences[number]) == recounted(story.material[number])
        assert {row["annotator"] for row in story.material[number]["labels"]} == {"ada", "bob"}
    assert any("human:bob" in row["sources"] for row in preferences[2])


def test_the_judge_is_fitted_to_what_people_said_together(story: Story) -> None:
    fitted = story.facts["calibration"]["calibration"]["rule"]
    # Where the two contradict each other, they say together that it is a tie.
    assert (fitted["n"], fitted["right"]) == (ASKED, ASKED // 2)
    assert (fitted["method"], fitted["signal"]) == ("platt", "margin")
    margins = {row["pair_id"]: row["margin"] for row in story.material[2]["pairs"]}
    distrusted = unreliable(story.material[2])
    trusted = margins.keys() - distrusted
    assert distrusted and trusted
    assert max(margins[pair] for pair in distrusted) < min(margins[pair] for pair in trusted)


def test_people_are_asked_first_where_the_judge_is_not_reliable(story: Story) -> None:
    why = {row["pair_id"]: row["why"] for row in story.material[2]["labels"]}
    by = {reason: {pair for pair in why if why[pair] == reason} for reason in set(why.values())}
    distrusted = unreliable(story.material[2])
    assert len(why) == ASKED and len(by[RANDOM]) == ASKED // 4
    assert by[UNRELIABLE] <= distrusted
    room = ASKED - len(by[RANDOM])
    assert len(by[UNRELIABLE]) == min(room, len(distrusted - by[RANDOM]))


def test_where_it_is_not_reliable_the_judge_does_not_vote(story: Story) -> None:
    distrusted = unreliable(story.material[2])
    rows_of = {row["pair_id"]: row["sources"] for row in story.at["finished"].preferences[2]}
    assert not [pair for pair in distrusted & rows_of.keys() if "rule" in rows_of[pair]]
    assert all("rule" in rows_of[pair] for pair in rows_of.keys() - distrusted)
    asked = {row["pair_id"] for row in story.material[2]["labels"]}
    dropped = {"judge_unreliable": len(distrusted - asked)} if distrusted - asked else {}
    ties = len(story.material[2]["pairs"]) - len(rows_of) - sum(dropped.values())
    assert story.facts["dropped"] == {**dropped, **({"tie": ties} if ties else {})}


def test_the_command_lists_rounds_with_counts(story: Story) -> None:
    counted = "round {}: 16 judgements of 24 pairs; preferences: "
    assert counted.format(2) in story.said["one round"]
    assert counted.format(1) not in story.said["one round"]
    assert all(counted.format(number) in story.said["all"] for number in (1, 2))
    # Ada alone outvotes the judge on the half on which she contradicts it.
    assert counted.format(1) + "8 flipped, 8 reweighed, 0 vanished, 0 new" in story.said["all"]


def test_a_person_taken_back_decides_nothing(story: Story) -> None:
    without = story.at["one round"].preferences
    assert trained_on(without[1]) == recounted(story.material[1])
    assert trained_on(without[2]) == recounted(story.material[2], ["human:bob"])
    assert trained_on(story.at["all"].preferences[1]) == recounted(story.material[1], ["human:bob"])
    named = {s for row in story.at["all, run"].preferences[1] for s in row["sources"]}
    assert named == {"rule", "human:ada"}


def test_exactly_what_depends_on_them_runs_again(story: Story) -> None:
    assert story.steps("finished", "one round") == [(2, "retract"), (2, "preferences")]
    assert story.steps("one round", "one round, run") == [(2, step) for step in TRAINED_ON]
    assert story.steps("one round, run", "all") == [(0, "retract"), (1, "preferences")]
    # Round 2 begins at another policy, whose answers nobody has labelled.
    anew = ("completions", "scores", "pairs", "judgements", "calibration")
    again = [(1, step) for step in TRAINED_ON] + [(2, step) for step in anew]
    assert story.steps("all", "all, run") == again


def test_undo_brings_all_back_and_trains_nothing(story: Story) -> None:
    assert story.steps("all, run", "undone") == [(0, "retract")]
    assert story.steps("undone", "undone, run") == []
    before, after = story.at["finished"], story.at["undone, run"]
    assert before.fingerprints == after.fingerprints
    assert before.preferences == after.preferences


def test_nothing_is_deleted(story: Story) -> None:
    for path, content in story.files.items():
        assert path.read_bytes() == content
        assert [row["annotator"] for row in read_rows(path)].count("bob") == ASKED


def _numbers(story: Story, name: str) -> list[dict[str, Any]]:
    return [drop_volatile(row) for row in story.at[name].shown["rounds"]]


def test_status_says_what_was_taken_back_and_what_to_type(story: Story) -> None:
    def told(name: str) -> tuple[list[tuple[str, list[int]]], list[int], str]:
        shown = story.at[name].shown
        gone = [(one["source"], one["rounds"]) for one in shown["taken_back"]]
        return gone, shown["outdated"], shown["state"]

    assert told("finished") == ([], [], "finished")
    assert told("one round") == ([("human:bob", [2])], [2], "stopped")
    assert told("one round, run") == ([("human:bob", [2])], [], "finished")
    assert told("all") == ([("human:bob", [1, 2])], [1, 2], "stopped")
    assert told("all, run") == ([("human:bob", [1, 2])], [], "waiting")
    assert told("undone") == ([], [1, 2], "stopped")
    assert told("undone, run") == ([], [], "finished")
    said = {name: seen.status for name, seen in story.at.items()}
    assert "! Labels by bob are retracted in round 2, by " in said["one round, run"]
    assert "by bob are retracted in all rounds (present in rounds 1 and 2), by " in said["all, run"]
    to_type = "run `ratchet run campaign/campaign.yaml --campaign-dir campaign`."
    assert all((to_type in said[name]) == bool(told(name)[1]) for name in said)
    # All but the price: what was made in between was paid for.
    assert _numbers(story, "undone, run") == _numbers(story, "finished")
