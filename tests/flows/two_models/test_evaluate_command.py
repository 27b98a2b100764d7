"""`ratchet evaluate` on the base of a small campaign and a policy that it trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_campaign import CONFIG, Campaign

from dpo_core.errors import BadInput
from dpo_core.find_model import find_model, share_vocabulary
from dpo_core.tables import read_rows
from flows.operations.evaluate_models.request import check_request, read_judge

JUDGES = """
kind: committee
members:
  - {function: "small_judge:score"}
  - {function: "first_judge:verdict", gives: verdict}
"""
FIRST = """
from dpo_core.records import Judgement

def verdict(pairs):
    '''Whatever it reads first is better: in both orders, that is a tie.'''
    return [Judgement("a", "first") for _ in pairs]
"""


@pytest.fixture(scope="module")
def folder(finished: Campaign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the test prompts of the campaign, tagged in turn, and judges."""
    folder = tmp_path_factory.mktemp("evaluate")
    shutil.copy(finished.folder / "small_judge.py", folder)
    (folder / "first_judge.py").write_text(FIRST)
    (folder / "judges.yaml").write_text(JUDGES)
    held_out = read_rows(finished.artifact(0, "held_out").path("prompts.parquet"))
    tests = [row["prompt"] for row in held_out if row["split"] == "test"]
    rows = [{"prompt": p, "tags": [["odd", "even"][n % 2], "all"]} for n, p in enumerate(tests)]
    lines = [json.dumps(row) for row in (*rows, rows[0])]  # one of them twice
    (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def models(finished: Campaign) -> tuple[str, str]:
    """The policy of round 2, whether promoted or not, and the base."""
    steps = ((2, "training"), (0, "base"))
    first, second = (str(finished.artifact(*step).path("policy")) for step in steps)
    return first, second


@pytest.fixture(scope="module")
def evaluated(
    folder: Path, models: tuple[str, str], request: pytest.FixtureRequest
) -> dict[str, Any]:
    resamples = CONFIG["evaluation"]["bootstrap_resamples"]
    done = Campaign(folder).ratchet(
        "evaluate",
        *models,
        *("--prompts", "prompts.jsonl", "--judge-config", "judges.yaml", "--json"),
        *("--engine", "transformers", "--max-tokens", "24", "--out", "kept/here"),
        *("--set", "threads=1", "--set", "sampling.dtype=float32"),  # as the campaign's
        *("--set", f"evaluation.bootstrap_resamples={resamples}"),
    )
    assert done.returncode == 0, done.stderr
    assert "A answers: 24" in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_says_what_the_campaign_said(evaluated: dict[str, Any], finished: Campaign) -> None:
    """Same prompts, same seeds, same weights: the numbers are those of the campaign's evaluation.

    The rule of the campaign counts half; the other judge contradicts itself in the other order,
    so each of its comparisons is a tie: the win rate is half way between the rule's and ½.
    """
    told = json.loads(finished.artifact(2, "evaluation").path("evaluation.json").read_text())
    expected = (told["win_rate_base"] + 0.5) / 2
    assert evaluated["win_rate"]["estimate"] == pytest.approx(expected)
    assert evaluated["win_rate"]["low"] < expected < evaluated["win_rate"]["high"]
    assert (evaluated["prompts"], evaluated["comparisons"], evaluated["unreadable"]) == (24, 24, 0)
    kl = evaluated["kl"]
    assert kl["nats"]["estimate"] == pytest.approx(told["kl_base_nats"], rel=1e-3, abs=1e-4)
    assert kl["nats"]["se"] == pytest.approx(told["kl_base_nats_se"], rel=1e-3, abs=1e-4)
    per_token = told["kl_base_nats_per_token"]
    assert kl["nats_per_token"]["estimate"] == pytest.approx(per_token, rel=1e-3, abs=1e-5)
    trained, base = evaluated["models"]["a"], evaluated["models"]["b"]
    assert trained["length_tokens"]["estimate"] == pytest.approx(told["length_mean"])
    assert base["length_tokens"]["estimate"] == pytest.approx(told["length_mean_base"])
    assert trained["truncated_share"]["estimate"] == pytest.approx(told["truncated_share"])
    [scored] = trained["scores"].values()
    assert scored["estimate"] == pytest.approx(told["score_mean"])
    for name in ("distinct_1", "distinct_2", "self_similarity"):
        assert trained[name] == pytest.approx(told[name])
        assert base[name] == pytest.approx(told[f"{name}_base"])
    assert trained["refusal_share"]["estimate"] == told["refusal_share"] == 0
    assert evaluated["length_unit"] == "tokens"


def test_outcomes_and_answers_are_kept(evaluated: dict[str, Any], folder: Path) -> None:
    kept = folder / "kept" / "here"
    names = ["answers_a.parquet", "answers_b.parquet", "evaluation.json", "outcomes.parquet"]
    assert sorted(path.name for path in kept.iterdir()) == [*names, "prompts.parquet"]
    assert json.loads((kept / "evaluation.json").read_text()) == evaluated
    answers = [
        {row["prompt_id"]: row for row in read_rows(kept / f"answers_{side}.parquet")}
        for side in "ab"
    ]
    for row in read_rows(kept / "outcomes.parquet"):
        ours, theirs = (side[row["prompt_id"]] for side in answers)
        shorter = len(theirs["token_ids"]) - len(ours["token_ids"])
        rule = 0.5 if shorter == 0 or ours["text"] == theirs["text"] else float(shorter > 0)
        assert row["outcome"] == (rule + 0.5) / 2
        assert row["length_difference"] == -shorter
        assert ours["seed"] == theirs["seed"]


def test_slices_by_tag(evaluated: dict[str, Any]) -> None:
    slices = evaluated["slices"]
    assert {name: one["prompts"] for name, one in slices.items()} == {
        "tags=all": 24,
        "tags=even": 12,
        "tags=odd": 12,
    }
    assert slices["tags=all"]["win_rate"] == pytest.approx(evaluated["win_rate"]["estimate"])
    halves = [slices[f"tags={name}"]["win_rate"] for name in ("even", "odd")]
    assert sum(halves) / 2 == pytest.approx(slices["tags=all"]["win_rate"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"--prompts": "nowhere.jsonl"}, "there is no file nowhere.jsonl"),
        ({"MODEL_A": "/nowhere"}, "there is no folder /nowhere"),
        ({"--out": "."}, "is not empty"),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(
    folder: Path, models: tuple[str, str], options: dict[str, str], complaint: str
) -> None:
    before = sorted(folder.rglob("*"))
    given = {"--prompts": "prompts.jsonl", "--judge": "small_judge:score", **options}
    first = given.pop("MODEL_A", models[0])
    arguments = [word for option in given.items() for word in option]
    done = Campaign(folder).ratchet("evaluate", first, models[1], *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert sorted(p for p in folder.rglob("*") if "__pycache__" not in p.parts) == [
        p for p in before if "__pycache__" not in p.parts
    ]


@pytest.mark.parametrize(
    ("judge", "overrides", "complaint"),
    [
        ({"function": "no_such_judge:score"}, [], "no_such_judge"),
        ({"kind": "human"}, [], "have no judge"),
        (
            {
                "kind": "committee",
                "members": [{"kind": "human"}, {"function": "small_judge:score"}],
            },
            [],
            "people cannot be asked",
        ),
        ({"function": "small_judge:score"}, ["sampling.engine=vlm"], "sampling.engine"),
        ({"function": "small_judge:score"}, ["training.beta=1"], "training.beta"),
        ({"function": "small_judge:score"}, ["prompts.field=question"], "question"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(
    folder: Path,
    models: tuple[str, str],
    judge: dict[str, Any],
    overrides: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput, match=complaint):
        check_request(models, Path("prompts.jsonl"), judge, overrides)


def test_the_judge_is_named_in_one_way(tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("judge: {kind: reward_model, model: x}\n")
    section = {"kind": "reward_model", "model": "x"}
    assert read_judge(None, tmp_path / "judge.yaml") == section
    assert read_judge("m:f", None) == {"kind": "rule", "function": "m:f"}
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("judge: [\n")
    for judge, file, complaint in (
        (None, None, "exactly one of"),
        ("m:f", "judge.yaml", "exactly one of"),
        (None, "nowhere.yaml", "cannot read"),
        (None, "list.yaml", "no judge section"),
        (None, "broken.yaml", "not valid YAML"),
    ):
        with pytest.raises(BadInput, match=complaint):
            read_judge(judge, None if file is None else tmp_path / file)


def test_models_and_their_tokens(models: tuple[str, str], tmp_path: Path) -> None:
    first, second = map(find_model, models)
    assert first.id != second.id and share_vocabulary(first, second)
    other = tmp_path / "other"
    shutil.copytree(second.folder, other)
    read = json.loads((other / "tokenizer.json").read_text())
    read["added_tokens"] = []
    (other / "tokenizer.json").write_text(json.dumps(read))
    assert not share_vocabulary(first, find_model(str(other)))
    (other / "model.safetensors").unlink()
    with pytest.raises(BadInput, match="no weights"):
        find_model(str(other))
