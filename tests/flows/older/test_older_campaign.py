"""A campaign that an older Ratchet made, of before fingerprints knew all that steps depend on."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import user_folder
import yaml
from rich.console import Console
from typer.testing import CliRunner
from user_folder import MADE_BEFORE

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.identity import IDENTITY, KEPT, RECOMPUTED, SETTLED, VERSION
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.tables import read_rows
from flows.cli import app
from flows.config import load_config
from flows.config.defaults import DEFAULTS, FIRST
from flows.session import Session
from flows.steps.base import held_out
from flows.steps.score import score
from reporting.progress import CampaignProgress

CONTINUED = Path(__file__).parent / "continued"
"""What the version before this one made of it: it let all steps count, and made a round more."""
STEPS = 36
"""Finished steps of its base and two rounds."""
_OF_THE_LEDGER = {KEPT, SETTLED, RECOMPUTED}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy, in a folder where its user's code lies."""
    return Path(shutil.copytree(MADE_BEFORE, tmp_path / "old"))


@pytest.fixture(autouse=True)
def own_modules(old: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The user's code is that of the test's own copy, in this process too."""
    names = [file.stem for file in old.glob("*.py")]
    monkeypatch.chdir(old)
    monkeypatch.syspath_prepend(old)
    yield
    for name in names:
        sys.modules.pop(name, None)


def run(folder: Path, *arguments: str) -> str:
    """What a run to the end says. In this process: its prompts lie in a module that needs torch,
    which each process would import anew."""
    words = user_folder.command("old_campaign.yaml", *arguments)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, words[words.index("run") :])
    assert done.exit_code == 0, done.output + repr(done.exception)
    return " ".join(done.stdout.split())


def entries(folder: Path) -> list[Entry]:
    return Ledger(Layout(folder / "campaign").ledger).read()


def made_since(folder: Path) -> list[Entry]:
    return [e for e in entries(folder) if e.identity == IDENTITY and e.step not in _OF_THE_LEDGER]


@pytest.fixture
def session() -> Iterator[Session]:
    config = load_config(Path("old_campaign.yaml"), ["threads=1"], Path("campaign"))
    with Session.open(Path("campaign"), config, CampaignProgress(Console(quiet=True), 2)) as opened:
        yield opened


def test_its_finished_rounds_stay_and_that_is_said_once(old: Path) -> None:
    before = (old / "campaign" / "ledger.jsonl").read_bytes()
    current = json.loads((old / "campaign" / "current.json").read_text())
    said = run(old)
    assert f"{STEPS} finished steps taken from disk" in said
    assert said.count("an older version of Ratchet finished these rounds") == 1
    assert "defaults" not in said
    assert made_since(old) == []
    assert (old / "campaign" / "ledger.jsonl").read_bytes().startswith(before)
    assert (
        json.loads((old / "campaign" / "current.json").read_text())["rounds"] == (current["rounds"])
    )
    kept = [entry.facts["step"] for entry in entries(old) if entry.step == KEPT]
    assert len(kept) == STEPS and kept[0] == "held_out" and kept[-1] == "gate"
    assert {e.ratchet for e in entries(old) if e.identity == IDENTITY} == {VERSION} != {""}
    stored = yaml.safe_load((old / "campaign" / "campaign.yaml").read_text())
    assert stored["defaults"] == FIRST

    written = (old / "campaign" / "ledger.jsonl").read_bytes()
    again = run(old)
    assert f"{STEPS} finished steps taken from disk" in again
    assert "older version" not in again and "config changed" not in again
    assert (old / "campaign" / "ledger.jsonl").read_bytes() == written


def test_what_one_version_let_count_and_made_counts_in_the_next(old: Path) -> None:
    shutil.copytree(CONTINUED, old, dirs_exist_ok=True)
    ledger, before = old / "campaign" / "ledger.jsonl", entries(old)
    written = ledger.read_bytes()
    steps = [(e.round, e.step, e.fingerprint, e.identity) for e in before if e.outputs]
    assert [step[3] for step in steps] == [1] * STEPS + [2] * 15
    said = run(old, "--set", "rounds=3")
    assert f"{len(steps)} finished steps taken from disk" in said and "older version" not in said
    assert made_since(old) == []
    assert ledger.read_bytes().startswith(written)
    kept = [e for e in entries(old)[len(before) :] if e.step == KEPT]
    found = [(e.round, e.facts["step"], e.facts["fingerprint"]) for e in kept]
    assert found == [step[:3] for step in steps]

    written = ledger.read_bytes()
    assert f"{len(steps)} finished steps taken from disk" in run(old, "--set", "rounds=3")
    assert ledger.read_bytes() == written


def test_its_next_round_knows_all_that_steps_depend_on(old: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in (old / "campaign/rounds").rglob("*.parquet")
    }
    said = run(old, "--set", "rounds=3", "--set", "sampling.shard_prompts=2")
    assert f"{STEPS} finished steps taken from disk" in said
    made = made_since(old)
    assert {entry.round for entry in made} == {3} and made[-1].step == "gate"
    assert {entry.ratchet for entry in made} == {VERSION}
    assert {p: p.stat().st_mtime_ns for p in before} == before
    judged = next(entry for entry in made if entry.step == "judgements")
    drawn = next(entry for entry in made if entry.step == "prompts")
    assert judged.inputs["prompts"] == drawn.outputs["prompts.parquet"]
    distant = next(entry for entry in made if entry.step == "answer_logps")
    held = next(entry for entry in entries(old) if entry.step == "held_out")
    assert distant.inputs["held_out"] == held.outputs["prompts.parquet"]
    assert distant.kept == held.facts["test"]
    sampled = next(entry for entry in made if entry.step == "completions")
    base = next(entry for entry in entries(old) if entry.step == "base")
    assert sampled.inputs["policy"] == base.facts["policy"]
    answered = current_artifact(Layout(old / "campaign"), 3, "completions")
    assert answered is not None
    rows = read_rows(answered.path("completions.parquet"), ["prompt_id", "sample_index"])
    assert len({tuple(row.values()) for row in rows}) == len(rows) == 20


def test_what_was_kept_is_made_anew_once_something_it_depends_on_changes(
    session: Session, old: Path
) -> None:
    answers = current_artifact(session.layout, 0, "answers")
    assert answers is not None

    def scored() -> tuple[bool, int]:
        made = score(session, 0, answers, drawn, session.config.held_out_judge, "answer_scores")
        assert made is not None
        return made.cached, made.entry.identity

    drawn = held_out(session)
    assert scored() == (True, 1)
    session.store.settle(0)
    assert scored() == (True, 1)
    with (old / "old_words.py").open("a") as file:  # beside the judge, in no package of it
        file.write("# counted otherwise\n")
    assert scored() == (False, IDENTITY)
    assert scored() == (True, IDENTITY)


def test_a_changed_config_of_an_old_round_makes_it_anew_at_once(session: Session) -> None:
    assert held_out(session).cached
    evaluation = session.config.evaluation.model_copy(update={"gate_prompts": 5})
    changed = session.with_config(session.config.model_copy(update={"evaluation": evaluation}))
    assert not held_out(changed).cached
    assert held_out(session).cached and held_out(session).entry.identity == 1


def test_recompute_lets_nothing_count_that_was_finished_before(session: Session, old: Path) -> None:
    assert held_out(session).cached
    session.store.recompute()
    made = held_out(session)
    assert not made.cached and made.entry.identity == IDENTITY
    layout = session.layout
    again = Session.open(
        layout.root, session.config, session.progress
    )  # the next run, without the option
    assert held_out(again).entry == made.entry
    again.store.recompute()  # the same command typed again goes on from there
    assert held_out(again).cached
    assert sum(entry.step == RECOMPUTED for entry in entries(old)) == 1


def test_recompute_makes_everything_anew(old: Path) -> None:
    run(old, "--recompute", "--set", "rounds=1")
    made = [(entry.round, entry.step) for entry in made_since(old)]
    before = [(e.round, e.step) for e in entries(old) if e.identity < IDENTITY and e.round < 2]
    assert made == before
    assert not any(entry.step == KEPT for entry in entries(old))


def test_a_new_campaign_has_the_defaults_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(MADE_BEFORE)
    config = load_config(MADE_BEFORE / "old_campaign.yaml", [], tmp_path / "new")
    assert config.defaults == DEFAULTS
