"""A task as a suite says what lm-evaluation-harness itself says of the same policy."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from byte_model import write_byte_model
from record_session import open_session
from task_data import write_data

from dpo_core.campaign.artifacts import Artifact, StepResult, current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.campaign.store import Recipe
from dpo_core.hashing import policy_id
from dpo_core.tables import read_rows
from flows.config.evaluation import HarnessSuite
from flows.harness.offline import ENVIRONMENT
from flows.harness.requests import continuation_id
from flows.harness.suite_task import CheckTask
from flows.round_state import Policy
from flows.steps.suites import answer_task
from tests.made_once import made_once

CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ifeval": ("chat", {"limit": 3, "max_tokens": 24}),
    "gsm8k": ("plain", {"max_tokens": 24, "metric": "exact_match,flexible-extract"}),
    "gsm8k_chat": ("chat", {"max_tokens": 24}),
    "arc_easy": ("plain", {}),
    "arc_chat": ("chat", {"metric": "acc_norm"}),
    "lambada": ("plain", {}),
}
"""suite → the policy, and what the suite says besides task and data"""
TASKS = {"arc_chat": "arc_easy", "gsm8k_chat": "gsm8k", "lambada": "lambada_openai"}


def suite_of(name: str, data: Path) -> HarnessSuite:
    task = TASKS.get(name, name)
    return HarnessSuite(harness=task, data=str(data / task), **CASES[name][1])


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, policies, the suites' steps in a session, and what the harness itself found."""
    return made_once(tmp_path_factory, "harness suites", make)


def make(folder: Path) -> None:
    data = folder / "data"
    write_data(data)
    policies = {kind: folder / kind for kind in ("chat", "plain")}
    for kind, place in policies.items():
        write_byte_model(place, chat=kind == "chat")
    sampling = {"engine": "transformers", "dtype": "float32"}
    with open_session(folder / "campaign", sampling=sampling) as session:
        for number, (kind, place) in enumerate(policies.items()):
            recipe = Recipe(number, "base", {})
            made_by = session.store.run(recipe, lambda _: StepResult(0, 0))
            policy = Policy(number, policy_id(place), place, made_by)
            for name, (wanted, _) in CASES.items():
                if wanted == kind:
                    answer_task(session, 0, name, suite_of(name, data), policy)
    jobs = [
        (
            str(policies[kind]),
            CheckTask(name=name, config=suite_of(name, data), chat=kind == "chat").model_dump(),
        )
        for name, (kind, _) in CASES.items()
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).parent / "harness_itself.py"
    command = [sys.executable, str(script), str(folder / "jobs.json"), str(folder / "found.json")]
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=300)


def step(here: Path, name: str) -> Artifact:
    found = current_artifact(Layout(here / "campaign"), 0, name)
    assert found is not None
    return found


def found_itself(here: Path, suite: str) -> list[dict[str, Any]]:
    """Per document, by the filter that the suite takes."""
    _, _, wanted = (CASES[suite][1].get("metric") or "").partition(",")
    everything = json.loads((here / "found.json").read_text())[list(CASES).index(suite)]
    chosen = wanted or everything[0]["filter"]
    return sorted(
        (one for one in everything if one["filter"] == chosen), key=lambda o: o["document"]
    )


@pytest.mark.parametrize("suite", CASES)
def test_every_document_has_the_score_that_the_harness_gives_it(here: Path, suite: str) -> None:
    answers, scores = step(here, f"suite_{suite}"), step(here, f"suite_{suite}_scores")
    asked = [row["prompt_id"] for row in read_rows(answers.path("prompts.parquet"))]
    said = {row["prompt_id"]: row for row in read_rows(answers.path("completions.parquet"))}
    scored = {row["completion_id"]: row for row in read_rows(scores.path("scores.parquet"))}
    expected = found_itself(here, suite)
    assert len(asked) == len(said) == len(scored) == len(expected) > 1
    wanted = (CASES[suite][1].get("metric") or "").partition(",")[0]
    for document, theirs in zip(asked, expected, strict=True):
        ours = scored[said[document]["completion_id"]]
        measures = {m["name"]: m["numerator"] for m in ours["measures"]}
        assert measures == theirs["metrics"]
        assert ours["score"] == measures[wanted or usual(measures)]


def usual(measures: Mapping[str, float]) -> str:
    return next(name for name in measures if name != "perplexity")


@pytest.mark.parametrize("suite", ["ifeval", "gsm8k", "gsm8k_chat"])
def test_answers_are_the_greedy_ones_of_the_harness(here: Path, suite: str) -> None:
    answers = step(here, f"suite_{suite}")
    said = {row["prompt_id"]: row for row in read_rows(answers.path("completions.parquet"))}
    theirs = iter(found_itself(here, suite))
    for row in read_rows(answers.path("prompts.parquet")):
        text = said[row["prompt_id"]]["text"]
        # The harness cuts at the texts that end an answer; here they are cut when it is scored.
        assert text.startswith(next(theirs)["said"][0])
        assert (row["messages"] is None) == (CASES[suite][0] == "plain")


@pytest.mark.parametrize("suite", ["arc_easy", "arc_chat", "lambada"])
def test_likelihoods_are_those_of_the_harness(here: Path, suite: str) -> None:
    answers = step(here, f"suite_{suite}")
    ours = {r["continuation_id"]: r for r in read_rows(answers.path("likelihoods.parquet"))}
    theirs = found_itself(here, suite)
    for row, expected in zip(read_rows(answers.path("prompts.parquet")), theirs, strict=True):
        for number, (logp, greedy) in enumerate(expected["said"]):
            found = ours[continuation_id(row["prompt_id"], number)]
            assert found["logp"] == pytest.approx(logp, abs=1e-3)
            assert found["greedy"] is greedy


def test_examples_are_part_of_the_prompt_where_a_task_has_some(here: Path) -> None:
    [first, _] = read_rows(step(here, "suite_gsm8k").path("prompts.parquet"))
    assert first["prompt"].count("Question:") == 6 and first["prompt"].count("####") == 5
    [chat, _] = read_rows(step(here, "suite_gsm8k_chat").path("prompts.parquet"))
    roles = [message["role"] for message in chat["messages"]]
    assert roles == ["user", "assistant"] * 5 + ["user"]
