"""What section `evaluation` refuses, and that prompts of suites are kept from training."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from record_session import open_session

from dpo_core.errors import ConfigError
from dpo_core.records import Prompt, prompt_id
from flows.config.evaluation import HeldOutConfig
from flows.config.paths import check_files, resolve_paths
from flows.config.raw import RawConfig
from flows.steps.prompts import leave_out
from flows.steps.suites import suite_prompts

RULE = {"function": "told_by_text:worth"}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"refusal_pattern": "("}, "is not a regular expression"),
        ({"relevance": 1}, "evaluation.relevance must be auto, a number of requests of at least 2"),
        ({"relevance": -1}, "of at least 2"),
        ({"relevance": 2.5}, "of at least 2"),
        ({"relevance": True}, "of at least 2"),
        ({"suites": {"Sums!": {"prompts": "x.jsonl", "judge": RULE}}}, "pattern"),
        ({"suites": {"sums": {"prompts": "x.jsonl"}}}, "Field required"),
        (
            {"suites": {"sums": {"prompts": "x.jsonl", "judge": {**RULE, "gives": "verdict"}}}},
            "a suite's judge must score each answer",
        ),
        (
            {"suites": {"sums": {"prompts": "x.jsonl", "judge": {**RULE, "relevance": 8}}}},
            "applies to training only, not to a suite",
        ),
    ],
)
def test_nonsense_is_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        HeldOutConfig.model_validate(section)


@pytest.mark.parametrize(
    ("section", "requests"),
    [({}, 8), ({"relevance": 5}, 5), ({"relevance": 0}, None), ({"relevance": None}, None)],
)
def test_among_how_many_requests_that_of_an_answer_is_looked_for(
    section: dict[str, Any], requests: int | None
) -> None:
    assert HeldOutConfig.model_validate(section).requests == requests


def test_a_suite_without_its_file_is_refused_before_anything_starts(tmp_path: Path) -> None:
    suites = {"sums": {"prompts": str(tmp_path / "no.jsonl"), "judge": RULE}}
    session = open_session(tmp_path, evaluation={"suites": suites})
    with pytest.raises(ConfigError, match=r"evaluation\.suites\.sums\.prompts: no such file"):
        check_files(session.config)


def test_paths_of_suites_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    raw = RawConfig({"evaluation": {"suites": {"sums": {"prompts": "x.jsonl", "judge": RULE}}}})
    assert resolve_paths(raw).get("evaluation.suites.sums.prompts") == str(tmp_path / "x.jsonl")


def test_a_prompt_of_a_suite_is_not_drawn_however_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(
        '{"prompt": "What  is 1 + 1?"}\n{"prompt": "what is 1 + 1?"}\n', encoding="utf-8"
    )
    suites = {"sums": {"prompts": str(file), "judge": RULE}}
    session = open_session(tmp_path / "campaign", evaluation={"suites": suites})
    texts = ("WHAT IS 1 + 1?", "What is 2 + 2?")
    pool = [Prompt(prompt_id(text, None), text=text) for text in texts]
    dropped = Counter[str]()
    kept = list(leave_out(iter(pool), suite_prompts(session), dropped))
    assert [prompt.text for prompt in kept] == ["What is 2 + 2?"]
    assert dropped == {"suite": 1}
