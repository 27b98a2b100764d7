"""Judges in a campaign's config, and a campaign whose judge is behind an endpoint."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_campaign import Campaign

sys.path.insert(0, str(Path(__file__).parents[1] / "labeling" / "judges"))
from loopback import KEY, Loopback, shorter

from dpo_core.errors import ConfigError
from flows.config import check_functions, load_config
from labeling.judges.config import LlmJudge

MODEL = {"kind": "llm", "model": "some/model"}
REMOTE = {**MODEL, "endpoint": "https://host/v1"}


def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, judge: dict[str, Any]) -> Any:
    monkeypatch.chdir(folder)
    Path("prompts.jsonl").touch()
    config = {
        "name": "c",
        "policy": {"build": "examples.reviews.model:build"},
        "prompts": {"path": "prompts.jsonl"},
        "pairs": {"strategy": "random"},
        "judge": judge,
    }
    Path("c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return load_config(Path("c.yaml"))


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        ({**MODEL, "rubric": "pointwise"}, "judge.rubric pointwise needs gives: score"),
        ({**MODEL, "rubric": "pairwise", "gives": "score"}, "needs gives: verdict"),
        (
            {**MODEL, "structured": True},
            "judge.structured applies only to a model behind an endpoint",
        ),
        ({**REMOTE, "revision": "main"}, "judge.revision applies only to a model on this machine"),
        ({**REMOTE, "budget_money": 2}, "judge.budget_money needs prices"),
        ({**MODEL, "endpoint": "host/v1"}, "judge.endpoint must be a URL"),
        ({**MODEL, "endpoint": "https://me:sk-123@host/v1"}, "judge.endpoint holds a secret"),
        ({**MODEL, "endpoint": "https://host/v1?key=sk-123"}, "judge.endpoint holds a secret"),
        ({**MODEL, "api_key": "sk-123"}, "unknown key judge.api_key"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        loaded(tmp_path, monkeypatch, judge)
    assert "sk-123" not in str(caught.value)


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        (REMOTE, "the environment variable OPENAI_API_KEY, which is not set"),
        ({**MODEL, "rubric": "nothing"}, "cannot read nothing"),
        ({**MODEL, "rubric": "principles"}, "no principles are set"),
        ({**MODEL, "principles": ["Be kind."]}, "it has no principles slot"),
        ({**MODEL, "model": "./nowhere"}, "there is no folder ./nowhere"),
        ({"kind": "reward_model", "model": "policy"}, r"is a \['LlamaForCausalLM'\]"),
        ({"kind": "reward_model", "model": "empty"}, "holds no model"),
    ],
)
def test_what_a_judge_lacks_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, judge: dict[str, Any], says: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ConfigError, match=says) as caught:
        check_functions(loaded(tmp_path, monkeypatch, judge))
    assert caught.value.remedy


def test_files_of_a_judge_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.md").write_text("{{ prompt }}{{ answers }}")
    member = {"kind": "llm", "model": "model", "rubric": "mine.md"}
    judge = loaded(
        tmp_path,
        monkeypatch,
        {"kind": "committee", "members": [{"function": "my:judge"}, member]},
    ).judge
    found = judge.members[1]
    assert isinstance(found, LlmJudge)
    assert (found.model, found.rubric) == (str(tmp_path / "model"), str(tmp_path / "mine.md"))


def test_a_campaign_judged_behind_an_endpoint(copy: Campaign) -> None:
    """Under Prefect; with the key in no file, every reply paid once, its behaviour measured."""
    with Loopback(shorter) as server:
        judge = {
            "kind": "llm",
            "model": "tiny",
            "endpoint": server.url,
            "api_key_env": "JUDGE_KEY",
            "money_per_million_tokens_in": 1.0,
        }
        config = yaml.safe_load((copy.folder / "small.yaml").read_text(encoding="utf-8"))
        config |= {"rounds": 1, "judge": judge, "pairs": {"strategy": "random"}}
        (copy.folder / "small.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        command = ("run", "small.yaml", "--campaign-dir", "campaign")
        refused = copy.ratchet(*command)
        assert refused.returncode == 2 and "JUDGE_KEY, which is not set" in refused.stderr
        copy.variables["JUDGE_KEY"] = KEY
        poor = copy.ratchet(*command, "--set", "judge.budget_tokens=4000")
        assert poor.returncode == 1 and "may not fit budget_tokens 4000" in poor.stderr
        assert 0 < len(server.requests) < 20
        done = copy.ratchet(*command)
        assert done.returncode == 0, done.stderr + done.stdout
        assert "finished steps taken from disk" in done.stdout
        asked = len(server.requests)
        questions = {request["messages"][0]["content"] for request in server.requests}
        assert len(questions) == asked  # nothing twice, in spite of the stop
    assert server.keys == {KEY}
    for step in ("judgements", "evaluation"):
        measured = copy.artifact(1, step).entry.facts["judges"]["llm:tiny"]
        assert (measured["position_bias"], measured["abstention_rate"]) == (0, 0)
        assert measured["longer_win_rate"] < 0.1 and measured["money"] > 0
    spent = copy.layout.judge_spending.read_text(encoding="utf-8").splitlines()
    assert len(spent) == asked
    secret = KEY.encode()
    files = [path for path in copy.folder.rglob("*") if path.is_file()]
    assert len(files) > 50 and not [path for path in files if secret in path.read_bytes()]
    assert KEY not in done.stdout + done.stderr
