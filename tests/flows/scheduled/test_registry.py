"""What a worker's runs may name: what was handed over at its command line, and nothing else."""

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from flows.config import CampaignConfig, load_config
from flows.worker.registry import NotRegistered, Registry, Submission
from flows.worker.runs import Order

ENDPOINT = "https://judge.example.com/v1"
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "policy": {"model": "none"},
    "prompts": {"path": "prompts.jsonl"},
    "judge": {"function": "handed_over_judge:score"},
    "evaluation_judge": {"kind": "llm", "model": "m", "endpoint": ENDPOINT, "api_key_env": "KEY"},
    "notify": {"webhook": "HOOK"},
}
JUDGE = "{kind: llm, model: m, gives: score, endpoint: 'http://a/v1', api_key_env: null}"
MARK = "imported"
SPEAK_OF_IT = {
    *("LlmJudge.structured", "LlmJudge.logprobs", "LlmJudge.request", "LlmJudge.timeout_s"),
    *("LlmJudge.model", "RuleJudge.kind"),
}
"""Fields that are about an endpoint or a function, and name none."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign's folder, beside it one with a judge that says so when it is imported."""
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        (tmp_path / name / "prompts.jsonl").write_text('{"prompt": "x"}\n', encoding="utf-8")
    (tmp_path / "mine/handed_over_judge.py").write_text("def score(c): ...\n", encoding="utf-8")
    touch = f"import pathlib\npathlib.Path({str(tmp_path / MARK)!r}).touch()\n"
    (tmp_path / "mine/evil").mkdir()
    (tmp_path / "mine/evil/__init__.py").write_text(touch, encoding="utf-8")
    (tmp_path / "mine/evil/judge.py").write_text("def score(c): ...\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


def order(place: Path, **changes: Any) -> Order:
    parameters = {
        "config": str(place / "mine/tiny.yaml"),
        "folder": str(place / "mine"),
        "campaign_dir": str(place / "mine/campaign"),
        **changes,
    }
    return Order.read(parameters)


@pytest.fixture
def registry(folder: Path) -> Registry:
    found = Registry(Layout(folder / "worker"))
    asked = order(folder)
    found.add(Submission.of("submit", asked, load_config(Path(asked.config))))
    return found


def test_what_was_handed_over_runs(registry: Registry, folder: Path) -> None:
    registry.admit(order(folder))
    assert Path.cwd() == folder / "mine"
    registry.admit(order(folder, overrides=["training.beta=0.3"], mode="append", rounds=2))
    with pytest.raises(ConfigError, match="no such file: /nowhere"):
        registry.admit(order(folder, overrides=["prompts.path=/nowhere"]))
    registry.admit(order(folder, campaign_dir="campaign", config="tiny.yaml"))
    (folder / "mine/handed_over_judge.py").write_text("def score(c): return []\n")  # its owner's
    registry.admit(order(folder))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"folder": "theirs"}, "the config"),
        ({"folder": None}, "the config"),
        ({"config": "theirs/tiny.yaml"}, "the config"),
        ({"campaign_dir": "elsewhere"}, "the campaign folder"),
        ({"campaign_dir": None, "overrides": ["name=other"]}, "the campaign folder"),
        ({"overrides": ["judge.function=evil.judge:score"]}, "the function evil.judge:score"),
        ({"overrides": ["judge.function=os:system"]}, "the function os:system"),
        ({"overrides": ["policy={build: 'evil.judge:score'}"]}, "the function evil.judge:score"),
        ({"overrides": ["prompts={function: 'evil.judge:score'}"]}, "the function evil"),
        ({"overrides": ["sft={function: 'evil.judge:score'}"]}, "the function evil"),
        (
            {"overrides": ["evaluation_judge.api_key_env=HOME"]},
            f"the endpoint {ENDPOINT} with the environment variable HOME",
        ),
        (
            {"overrides": ["evaluation_judge.endpoint=https://attacker.example/v1"]},
            "the endpoint https://attacker.example/v1 with the environment variable KEY",
        ),
        (
            {"overrides": [f"judge={JUDGE}"]},
            "the endpoint http://a/v1",
        ),
        ({"overrides": ["notify.slack=AWS_SECRET"]}, "the environment variable AWS_SECRET"),
    ],
)
def test_what_was_not_is_refused(
    registry: Registry, folder: Path, changes: dict[str, Any], named: str
) -> None:
    placed = {
        key: str(folder / value) if key != "overrides" and value else value
        for key, value in changes.items()
    }
    os.chdir(folder)
    with pytest.raises(NotRegistered) as refused:
        registry.admit(order(folder, **placed))
    assert refused.value.message.startswith(f"the run names {named}")
    assert "ratchet submit" in refused.value.remedy
    assert not (folder / MARK).exists()  # refused before a line of it was run


def test_a_module_that_lies_elsewhere_now(registry: Registry, folder: Path) -> None:
    (folder / "mine/handed_over_judge.py").unlink()
    registry.admit(order(folder))  # the run says so itself
    package = folder / "mine/handed_over_judge"
    package.mkdir()
    (package / "__init__.py").write_text("def score(c): ...\n")
    with pytest.raises(
        NotRegistered, match=f"judge:score in {package}/__init__.py .submitted from "
    ):
        registry.admit(order(folder))


def test_variables_that_the_worker_opens(registry: Registry, folder: Path) -> None:
    opened = Registry(registry.layout, ("OTHER", "HOOK_2"))
    opened.admit(order(folder, overrides=["evaluation_judge.api_key_env=OTHER"]))
    opened.admit(order(folder, overrides=["notify.slack=HOOK_2"]))
    with pytest.raises(NotRegistered, match="HOME"):
        opened.admit(order(folder, overrides=["evaluation_judge.api_key_env=HOME"]))


def test_what_was_handed_over_before_stays(registry: Registry, folder: Path) -> None:
    """A run may be suspended with it; the same again is no second entry."""
    plain = ["evaluation_judge=null", "notify.webhook=null"]
    asked = order(folder, overrides=plain)
    for _ in range(2):
        registry.add(Submission.of("submit", asked, load_config(Path(asked.config), plain)))
    registry.admit(order(folder))
    assert len(json.loads((folder / "worker/registry.json").read_text())) == 2


def test_each_command_keeps_its_own_entries(registry: Registry, folder: Path) -> None:
    root = folder / "mine/campaign"
    plain = ["evaluation_judge=null", "notify.webhook=null"]
    asked = order(folder, overrides=plain)
    registry.add(Submission.of("schedule", asked, load_config(Path(asked.config), plain)))
    registry.admit(order(folder))  # by what was submitted
    registry.remove("submit", root)
    with pytest.raises(NotRegistered, match="KEY"):
        registry.admit(order(folder))
    registry.admit(asked)
    registry.remove("schedule", root)
    assert not registry.knows(root)
    with pytest.raises(NotRegistered, match="was not submitted to the worker in"):
        registry.admit(asked)


def test_no_section_names_code_or_secrets_beyond_those_that_are_looked_at() -> None:
    """Who adds such a field adds it to list_functions, list_endpoints or the notifications."""
    found = set()
    for model, schema in CampaignConfig.model_json_schema()["$defs"].items():
        for name, field in schema.get("properties", {}).items():
            text = f"{name} {field.get('description', '')}"
            if re.search(r"module:function|_env\b|\bvariable|\bendpoint\b|\bfunction\b", text):
                found.add(f"{model}.{name}")
    assert found - SPEAK_OF_IT == {
        "RuleJudge.function",
        "PolicyConfig.build",
        "SftConfig.function",
        "TrainingSection.loss",
        "PromptsConfig.function",
        "LlmJudge.endpoint",
        "LlmJudge.api_key_env",
        "NotifyConfig.webhook",
        "NotifyConfig.slack",
    }


def test_nobody_else_writes_it(registry: Registry, folder: Path) -> None:
    path = folder / "worker/registry.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())[0]["way"] == "submit"
    path.chmod(0o666)
    with pytest.raises(BadInput, match="can be read or written by other users") as refused:
        registry.admit(order(folder))
    assert f"chmod 600 {path}" in refused.value.remedy
    path.chmod(0o600)
    path.write_text("[{}]")
    with pytest.raises(BadInput, match="is not a registry of submissions"):
        registry.admit(order(folder))
