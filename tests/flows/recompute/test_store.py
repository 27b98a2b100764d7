"""What becomes of steps that are made again and compared, on steps that write a line each."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from record_session import open_session

from dpo_core.campaign.artifacts import Artifact, StepResult
from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.campaign.ledger import Entry
from dpo_core.campaign.recomputing import Recomputation, RecomputedStep
from dpo_core.campaign.store import Recipe, Store
from dpo_core.errors import BadInput, InputGone, NotRemembered, PromptError
from dpo_core.hashing import file_sha256
from flows.round_state import Policy
from flows.session import Session
from flows.steps.imported_preferences import imported_preferences
from flows.steps.labels import ask_people
from tests.resealed import reseal

Make = Callable[[Path], StepResult]


def writes(text: str, came_in: int = 1) -> Make:
    def make(folder: Path) -> StepResult:
        (folder / "lines.jsonl").write_text(text, encoding="utf-8")
        return StepResult(came_in, 1)

    return make


def fails(folder: Path) -> StepResult:
    raise PromptError("there is no file prompts.jsonl")


def recipe(number: int, step: str, beta: float = 0.1) -> Recipe:
    return Recipe(number, step, {"beta": beta})


class Campaign:
    """One of rounds 1 and 2, recorded, and the store that makes round 2 again."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "campaign", 1)
        for number in (1, 2):
            for step in ("prompts", "training", "labels"):
                self.store.run(recipe(number, step), writes(step))
        self.folder = folder
        self.told: list[RecomputedStep] = []

    def again(self, asked: Recipe, make: Make) -> tuple[Artifact, RecomputedStep | None]:
        root, scratch = self.store.layout.root, self.folder / "scratch"
        before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
        self.told.clear()
        found = Recomputation(Store(root, 1), 2, scratch, self.told.append).run(asked, make)
        assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
        return found, self.told[0] if self.told else None


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def test_equal_and_other_bytes(campaign: Campaign) -> None:
    for text, verdict in (("training", "equal"), ("other", "differs")):
        shutil.rmtree(campaign.folder / "scratch", ignore_errors=True)
        found, checked = campaign.again(recipe(2, "training"), writes(text))
        assert checked is not None and checked.found == verdict
        # What follows is made from what was recorded, so that one difference is told once.
        assert found.folder.is_relative_to(campaign.store.layout.root)
    assert checked.said == "lines.jsonl: its bytes differ"


def test_other_rounds_are_only_read(campaign: Campaign) -> None:
    found, checked = campaign.again(recipe(1, "training"), fails)
    assert checked is None and found.cached
    with pytest.raises(BadInput, match="round 2 has no finished step evaluation"):
        campaign.again(recipe(2, "evaluation"), fails)


def test_another_recipe_is_a_difference(campaign: Campaign) -> None:
    _, checked = campaign.again(recipe(2, "training", beta=0.2), writes("training"))
    assert checked is not None and checked.found == "differs"
    assert checked.said.startswith("its config, inputs or user code are not those")


def test_log_probs_of_an_older_version_were_of_more_answers(campaign: Campaign) -> None:
    logps = recipe(2, "answer_logps")
    made = campaign.store.run(logps, writes("test and gate"))
    _, checked = campaign.again(logps, writes("test"))
    assert checked is not None and checked.found == "differs"
    older = asdict(replace(made.entry, identity=2))
    reseal(campaign.store.layout.ledger, lambda e: e["step"] == made.entry.step and e.update(older))
    _, checked = campaign.again(logps, writes("test"))
    assert checked is not None and checked.found == "taken"
    assert checked.said == "as it was recorded, which was of answers to gate prompts too"


def test_people_are_not_asked_again(campaign: Campaign) -> None:
    told: list[RecomputedStep] = []
    store = Recomputation(
        Store(campaign.store.layout.root, 1), 2, campaign.folder / "s", told.append
    )
    for number in (1, 2):
        found = store.as_recorded(number, "labels")
        assert found is not None and found.entry.round == number
    assert [(one.step, one.found) for one in told] == [("labels", "taken")]
    with pytest.raises(BadInput, match="round 3 has no finished step labels"):
        store.as_recorded(3, "labels")


def test_files_of_others_may_be_gone(campaign: Campaign) -> None:
    """Preferences that were imported, prompts of a suite: what was made of them is recorded."""

    def gone(folder: Path) -> StepResult:
        Inputs("training", {"pairs": Input.of_file(campaign.folder / "pairs.jsonl")}).path("pairs")
        raise AssertionError("it is not there")

    _, checked = campaign.again(recipe(2, "training"), gone)
    assert checked is not None and checked.found == "taken"
    assert "pairs.jsonl, which is gone" in checked.said


def test_what_a_gone_file_was_is_known_from_the_step_made_of_it(tmp_path: Path) -> None:
    file = tmp_path / "gold.jsonl"
    file.write_text("gold")

    def make(folder: Path, inputs: Inputs) -> StepResult:
        (folder / "labels").write_text(inputs.path("gold").read_text())
        return StepResult(1, 1)

    with open_session(tmp_path / "campaign") as session:

        def step(number: int) -> Artifact:
            inputs = {"gold": session.file_input(file)}
            return session.step(number, "labels", make, config={}, inputs=inputs)

        made = step(1)
        file.unlink()
        assert (step(1).entry, step(1).cached) == (made.entry, True)
        with pytest.raises(InputGone, match=r"gold\.jsonl, which is gone"):
            step(2)


def test_a_round_whose_imported_preferences_or_gold_are_gone(tmp_path: Path) -> None:
    """They used to end in a traceback: recipes hash what is there."""
    folder = tmp_path / "imported"
    folder.mkdir()
    (folder / "pairs.parquet").write_text("pairs")
    sha = file_sha256(folder / "pairs.parquet")
    root, gold = tmp_path / "campaign", str(tmp_path / "gold.jsonl")
    told: list[RecomputedStep] = []
    people = {"gold": gold, "gold_share": 0.1}
    sections = {"data": {"imported": str(folder)}, "people": people}
    with open_session(root, **sections) as session:
        recorded = {"imported": Input(sha)}
        made = session.step(
            1, "imported", lambda folder, _: writes("i")(folder), config={}, inputs=recorded
        )
        asked = session.step(1, "labels", lambda folder, _: writes("labels")(folder), config={})
        shutil.rmtree(folder)
        with pytest.raises(InputGone):
            imported_preferences(session, 2, Policy(0, "id", root, made), held(session))
        runner = Recomputation(Store(root, 1), 1, tmp_path / "scratch", told.append)
        again, policy = replace(session, steps=runner), Policy(0, "id", root, made)
        assert imported_preferences(again, 1, policy, held(session)).entry == made.entry
        assert ask_people(again, 1, *[made] * 4) == replace(asked, cached=True)
    assert [(one.step, one.found) for one in told] == [("imported", "taken"), ("labels", "taken")]
    assert "pairs.parquet, which is gone" in told[0].said


def held(session: Session) -> Artifact:
    """Held-out prompts, of which only the hash is looked at."""
    entry = Entry(0, "held_out", "f", outputs={"prompts.parquet": "5eed"})
    return Artifact(session.layout.root, entry, cached=True)


def test_endpoints_are_not_asked_again(campaign: Campaign) -> None:
    def not_remembered(folder: Path) -> StepResult:
        raise NotRemembered("3 replies are missing")

    _, checked = campaign.again(recipe(2, "training"), not_remembered)
    assert checked is not None and checked.found == "taken"
    assert checked.said == "3 replies are missing"


@pytest.mark.parametrize(
    ("make", "verdict", "said"),
    [
        (writes("prompts"), "equal", ""),
        (writes("prompts and more", came_in=9), "taken", "the pool has 9 prompts now and had 1"),
        (writes("others"), "differs", "lines.jsonl: its bytes differ"),
        (fails, "taken", "the prompts are gone: there is no file prompts.jsonl"),
    ],
)
def test_a_draw_is_frozen(campaign: Campaign, make: Make, verdict: str, said: str) -> None:
    _, checked = campaign.again(recipe(2, "prompts"), make)
    assert checked is not None and checked.found == verdict and said in checked.said


def test_pruned_weights_are_compared_by_hash_and_made_again(campaign: Campaign) -> None:
    def weights(text: str) -> Make:
        def make(folder: Path) -> StepResult:
            (folder / "policy").mkdir()
            return writes(text)(folder / "policy")

        return make

    candidate = recipe(2, "candidate")
    recorded = campaign.store.run(candidate, weights("weights"))
    campaign.store.prune(recorded, "policy")
    found, checked = campaign.again(candidate, weights("weights"))
    assert checked is not None and checked.found == "equal"
    assert found.path("policy/lines.jsonl").exists() and found.entry == recorded.entry
    shutil.rmtree(campaign.folder / "scratch")
    _, checked = campaign.again(candidate, weights("others"))
    assert checked is not None and "the recorded file was pruned" in checked.said
