"""Export of a campaign, import of what it wrote, and a campaign that starts from it."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_campaign import Campaign

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.current import read_current
from dpo_core.errors import RatchetError
from dpo_core.hashing import file_sha256
from dpo_core.tables import read_rows
from flows.cli import app
from flows.read_records import read_prompts

RUN = ("--set", "data.imported=set", "--set", "training.reference_logps=from_sampling")


_NO_TEXT = {0, 2}
"""Ids of <pad> and <unk>, which a policy of this size samples now and then: no text shows them."""


def texts(prompts: Artifact, completions: Artifact, preferences: Artifact) -> set[tuple[Any, ...]]:
    """(prompt, chosen, rejected), and the token ids of all three, of each preference."""
    rows = read_rows(completions.path("completions.parquet"))
    by_id = {row["completion_id"]: row for row in rows}
    asked = read_prompts(prompts.path("prompts.parquet"))
    found = set()
    for row in read_rows(preferences.path("preferences.parquet")):
        both = [by_id[row[side]] for side in ("chosen", "rejected")]
        lists = (one[name] for one in both for name in ("prompt_token_ids", "token_ids"))
        ids = (tuple(i for i in each if i not in _NO_TEXT) for each in lists)
        found.add((asked[row["prompt_id"]].text, *(one["text"] for one in both), *ids))
    return found


@pytest.fixture(scope="module")
def warm(finished: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """A copy of the campaign whose first round trains on what was exported of its first round."""
    campaign = finished.copied(tmp_path_factory.mktemp("warm") / "copy")
    done = campaign.ratchet("export", "campaign", "out", "--round", "1")
    assert done.returncode == 0, done.stderr
    held = read_rows(campaign.artifact(0, "held_out").path("prompts.parquet"))[0]["prompt"]
    more = [
        {"prompt": f" {held.upper()} ", "chosen": "good .", "rejected": "bad ."},
        {"prompt": "the plot", "chosen": "good " * 200, "rejected": "bad ."},
        {"prompt": "the plot", "chosen": ""},
    ]
    (campaign.folder / "more.jsonl").write_text("\n".join(json.dumps(row) for row in more))
    done = campaign.ratchet("import", "out", "more.jsonl", "set")
    assert done.returncode == 0, done.stderr
    assert "more.jsonl:3: not a preference row (its columns: prompt, chosen)" in done.stdout
    assert done.stdout.endswith("Next: ratchet run CONFIG --set data.imported=set\n")
    done = campaign.run(*RUN)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    campaign.keep_output(done.stdout)
    return campaign


def test_round_one_trains_exactly_the_imported_pairs(finished: Campaign, warm: Campaign) -> None:
    imported = warm.artifact(1, "imported")
    steps = ("prompts", "completions", "preferences")
    exported = texts(*(finished.artifact(1, step) for step in steps))
    assert texts(imported, imported, imported) == exported
    assert imported.entry.dropped == {"held_out": 1, "too_long": 1}
    training = warm.artifact(1, "training").entry
    assert training.kept == len(exported) == imported.entry.kept
    for name in ("preferences", "completions"):
        assert training.inputs[name] == imported.hash(f"{name}.parquet")


def test_nothing_is_sampled_for_it_and_round_two_goes_on_as_always(warm: Campaign) -> None:
    rounds = read_current(warm.layout).rounds
    after = ["audit", "training", "answers", "answer_scores", "answer_logps", "evaluation", "gate"]
    assert list(rounds["01"]) == ["imported", *after]
    assert list(rounds["02"])[:2] == ["prompts", "completions"]
    again = warm.run(*RUN)
    assert "finished steps taken from disk" in again.stdout
    assert "round 1/2" not in again.stdout and "round 2/2" not in again.stdout


def test_without_log_probs_of_a_sampler_the_reference_takes_a_pass(warm: Campaign) -> None:
    said = [line for line in warm.output.splitlines() if line.startswith("! Training, step 0")]
    assert len(said) == 1 and "the sampler returned no log-probs" in said[0], warm.output
    facts = {n: warm.artifact(n, "training").entry.facts for n in (1, 2)}
    assert facts[1]["from_sampling_refused"] != ""
    assert facts[2]["from_sampling_refused"] == ""


def test_status_and_report_know_the_round(warm: Campaign) -> None:
    shown = warm.ratchet("status", "campaign", "--json")
    first, second = json.loads(shown.stdout)["rounds"]
    imported = warm.artifact(1, "imported").entry
    assert first["prompts"] == imported.facts["prompts"]
    assert first["completions"] == imported.facts["completions"]
    assert first["tokens_per_second"] is None and second["tokens_per_second"] > 0
    assert {name: first["dropped"][name] for name in ("held_out", "too_long")} == {
        "held_out": 1,
        "too_long": 1,
    }


def test_another_content_is_another_round(warm: Campaign, tmp_path: Path) -> None:
    """The folder's content counts, not its name."""
    imported = warm.artifact(1, "imported").entry.inputs["imported"]
    moved = warm.folder / "elsewhere"
    done = warm.ratchet("import", "out", "more.jsonl", str(moved))
    assert done.returncode == 0
    assert file_sha256(moved / "pairs.parquet") == imported
    fewer = tmp_path / "fewer"
    assert warm.ratchet("import", "out", str(fewer)).returncode == 0
    assert len(read_rows(fewer / "pairs.parquet")) == len(read_rows(moved / "pairs.parquet")) - 2


def test_the_card_tells_of_both_rounds(warm: Campaign) -> None:
    assert warm.ratchet("export", "campaign", "both", "--licence", "cc0-1.0").returncode == 0
    text = (warm.folder / "both" / "README.md").read_text(encoding="utf-8")
    pairs = [warm.artifact(n, "training").entry.kept for n in (1, 2)]
    assert f"| 1 | {pairs[0]} | imported |\n| 2 | {pairs[1]} | sampled |" in text
    assert "| 1 | imported | held_out | 1 |" in text
    assert "license: cc0-1.0" in text
    again = warm.ratchet("export", "campaign", "both")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "campaign", "new", "--rounds", "3"), "round 3 has no preferences yet in small"),
        (("export", "campaign", "new", "--rounds", "x"), "'x' is not a round"),
        (("export", "nowhere", "new"), "nowhere is not a campaign"),
        (
            ("export", "campaign", "new", "--licence", "My Own"),
            "is not an identifier from the hub's list",
        ),
        (("import", "missing.jsonl", "new"), "there is no file or folder missing.jsonl"),
        (("import", "small.yaml", "new"), "small.yaml has an unknown file type"),
        (("run", "small.yaml", "--set", "data.imported=out"), "holds no pairs.parquet"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    warm: Campaign, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(warm.folder)
    with pytest.raises(RatchetError) as error:
        app(list(arguments), standalone_mode=False)
    assert error.value.exit_code == 2
    assert said in error.value.message
    assert not (warm.folder / "new").exists()
