"""Which tasks can be a suite, what the others are refused with, and where nothing is looked for."""

import json
from pathlib import Path
from typing import Any

import pytest
from many_requests import answered
from record_session import open_session
from task_data import IFEVAL, ifeval_rows, write_data

from dpo_core.jobs import ChildJob, JobResult, job_request
from dpo_core.records import Completion, Prompt, prompt_id
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import read_rows, write_rows
from examples.instructions import judge
from flows.config.evaluation import HarnessSuite
from flows.doctor.inputs import check_suites
from flows.harness.requests import document_id
from flows.harness.suite_task import CheckTask, ScoreDocuments, WriteTexts
from tests.made_once import made_once

REFUSED = {
    "no such task": ("ifevall", "ifeval", {}, "is not a task of lm-eval", "ifeval"),
    "a group": ("mmlu", "ifeval", {}, "mmlu is a group of tasks", "mmlu_"),
    "another type": ("wikitext", "ifeval", {}, "type loglikelihood_rolling", "another task"),
    "code of the policy": ("humaneval", "ifeval", {}, "runs code that the policy", "another task"),
    "several answers": (
        "gsm8k_cot_self_consistency",
        "gsm8k",
        {},
        "asks for several answers",
        "another task",
    ),
    "a split that is not there": ("arc_easy", "ifeval", {}, "no split test", "test.jsonl"),
    "examples that are not there": ("gsm8k", "arc_easy", {}, "no split train", "train.jsonl"),
    "other data": ("ifeval", "swapped", {}, "cannot read the documents", "written for"),
    "no data": ("ifeval", "nothing", {}, "holds no readable data", ".jsonl"),
    "a number of several parts": (
        "ifeval",
        "ifeval",
        {"metric": "inst_level_strict_acc"},
        "reports no inst_level_strict_acc",
        "prompt_level_strict_acc, prompt_level_loose_acc",
    ),
    "no such filter": (
        "gsm8k",
        "gsm8k",
        {"metric": "exact_match,any"},
        "reports no exact_match,any",
        "exact_match,strict-match, exact_match,flexible-extract",
    ),
}
"""name → task, data, more of the suite, words of the message, words of the remedy"""

SAID = [
    "Tea is warm and good. I drink it daily. It helps. P.S. Bye.",
    '"<<Tea>> *warm* and *GOOD* TEA\n* one\n* two\nP.S. more"',
    '{"tea": 1}',
    "tea is kind and warm so bye bye. Bye.",
    "tea is warm and good for you and it is kind to sleepy people in the morning",
    "",
    "TEA IS GOOD, AND WARM.",
    "Der Tee ist warm und gut und ich trinke ihn jeden Tag gern.",
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "harness tasks", make)


def make(folder: Path) -> None:
    """Everything that is asked of one process, whose start takes most of the time."""
    write_data(folder / "data")
    rows = ifeval_rows()
    for name, lines in {"swapped": [{"question": "?", "answer": "!"}], "nothing": []}.items():
        (folder / "data" / name).mkdir()
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (folder / "data" / name / f"train.{'jsonl' if lines else 'md'}").write_text(text)
    (folder / "data" / "said").mkdir()
    every = "".join(json.dumps(row) + "\n" for row in rows for _ in SAID)
    (folder / "data" / "said" / "train.jsonl").write_text(every)
    write_rows(folder / "completions.parquet", completions(), COMPLETIONS)

    def suite(task: str, data: str, **more: Any) -> HarnessSuite:
        return HarnessSuite(harness=task, data=str(folder / "data" / data), **more)

    jobs: list[ChildJob[JobResult]] = [
        *(CheckTask(name="s", config=suite(t, d, **more)) for t, d, more, *_ in REFUSED.values()),
        CheckTask(name="s", config=suite("ifeval", "ifeval")),
        CheckTask(name="s", config=suite("gsm8k", "gsm8k", limit=1)),
        WriteTexts(name="s", config=suite("ifeval", "ifeval"), out=folder / "texts.parquet"),
        ScoreDocuments(
            name="s",
            config=suite("ifeval", "said"),
            answers=folder / "completions.parquet",
            likelihoods=None,
            out=folder / "scores.parquet",
        ),
    ]
    found = answered([*map(job_request, jobs)], folder)
    (folder / "found.json").write_text(json.dumps(found))


def completions() -> list[dict[str, Any]]:
    """One answer to each document of `said`."""
    return [
        {
            **dict.fromkeys(COMPLETIONS.names),
            "completion_id": f"c{number}",
            "prompt_id": document_id("ifeval", number),
            "text": SAID[number % len(SAID)],
        }
        for number in range(len(IFEVAL) * len(SAID))
    ]


def found(here: Path, number: int) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((here / "found.json").read_text())[number]
    return result


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_suite_is_refused_in_one_sentence(here: Path, name: str) -> None:
    _, _, _, message, remedy = REFUSED[name]
    refused = found(here, list(REFUSED).index(name))
    assert refused["error"].startswith("evaluation.suites.s.") and "\n" not in refused["error"]
    assert message in refused["error"] and remedy in refused["remedy"]


def test_what_can_be_a_suite_says_how_it_is_scored(here: Path) -> None:
    ifeval = {"documents": len(IFEVAL), "score": "prompt_level_strict_acc,none", "max_tokens": 1280}
    assert found(here, len(REFUSED)) == ifeval
    gsm8k = {"documents": 1, "score": "exact_match,strict-match", "max_tokens": 256}
    assert found(here, len(REFUSED) + 1) == gsm8k


def test_what_documents_ask_is_known_however_it_is_asked_in_training(here: Path) -> None:
    known = {row["prompt_id"] for row in read_rows(here / "texts.parquet")}
    text = IFEVAL[0][0]
    chat = ({"role": "user", "content": text.upper()},)
    assert {prompt_id(f"  {text}", None), prompt_id(None, chat)} <= known
    assert len(known) == 2 * len(IFEVAL)


def test_ifeval_and_the_judge_of_the_examples_agree_answer_by_answer(here: Path) -> None:
    theirs = {row["completion_id"]: row for row in read_rows(here / "scores.parquet")}
    assert len(theirs) == len(IFEVAL) * len(SAID)
    followed = set()
    for row in completions():
        prompt, instructions = IFEVAL[int(row["completion_id"][1:]) // len(SAID)]
        extra = {
            "instruction_id_list": list(instructions),
            "kwargs": list(instructions.values()),
        }
        asked_so = Prompt("p", messages=({"role": "user", "content": prompt},), extra=extra)
        [ours] = judge.ifeval([Completion("c", asked_so, row["text"], "stop", 9)])
        assert theirs[row["completion_id"]]["score"] == ours.value, (prompt, row["text"])
        followed |= {(prompt, ours.value)}
    # Of each prompt an answer that follows and one that does not, or nothing would be compared.
    assert followed == {(prompt, value) for prompt, _ in IFEVAL for value in (0.0, 1.0)}


def test_the_doctor_says_that_answers_leave_no_room_for_prompts(here: Path, tmp_path: Path) -> None:
    suites = {"s": {"harness": "ifeval", "data": str(here / "data" / "ifeval")}}
    session = open_session(
        tmp_path, evaluation={"suites": suites}, sampling={"max_model_len": 512, "max_tokens": 64}
    )
    [finding] = check_suites(session.config)
    assert (finding.severity, finding.where) == ("problem", "evaluation.suites.s")
    assert "answers of up to 1280 tokens, as ifeval asks for, leave no room" in finding.what
    assert finding.remedy.startswith("Set evaluation.suites.s.max_tokens to 256")
