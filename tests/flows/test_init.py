"""`ratchet init`: what it writes is a campaign that could begin, and it overwrites nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.config import load_config
from flows.config.paths import check_functions
from flows.doctor.inputs import check_inputs
from flows.doctor.new_campaign import check_rate, check_rules, check_sizes
from flows.operations.start_folder import list_recipes, start_folder
from generation.prompts import count_splits

ROOT = Path(__file__).parents[2]


def test_the_first_campaign_could_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "mine"
    written = start_folder(folder, None)
    assert sorted(written) == sorted(folder.iterdir())
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    config = load_config(Path("config.yaml"))
    check_functions(config)
    check_inputs(config, Layout(folder / "campaigns" / config.name))
    sizes = check_sizes(config, count_splits(config.prompts))
    assert [*check_rate(config), *sizes, *check_rules(config)] == []
    for word in ("test_my_judge.py", "config.yaml", f"campaigns/{config.name}"):
        assert word in (folder / "README.md").read_text()


def test_the_judge_has_a_test_of_its_own(tmp_path: Path) -> None:
    start_folder(tmp_path, None)

    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "test_my_judge.py"]
        env = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    assert run().stdout == "ok\n"
    judge = tmp_path / "my_judge.py"
    judge.write_text(judge.read_text().replace("return -10.0", "return 10.0"))
    assert "AssertionError" in run().stderr


def test_every_recipe_is_written_under_its_own_name(tmp_path: Path) -> None:
    recipes = list_recipes()
    assert len(recipes) == len([*(ROOT / "configs").rglob("*.yaml")])
    for name in recipes:
        [config] = start_folder(tmp_path / name, name)
        assert yaml.safe_load(config.read_text())["name"] == name
        assert f"configs/{name}.yaml" not in config.read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "my_judge.py").write_text("mine")
    with pytest.raises(BadInput, match=r"has my_judge\.py already, and nothing is overwritten"):
        start_folder(tmp_path, None)
    with pytest.raises(BadInput, match="is a file"):
        start_folder(tmp_path / "my_judge.py", None)
    with pytest.raises(BadInput) as refused:
        start_folder(tmp_path, "demo-cpi")
    assert "Did you mean demo-cpu?" in refused.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["my_judge.py"]
    assert (tmp_path / "my_judge.py").read_text() == "mine"
