"""Every recipe under configs/ loads, resolves its functions and is documented."""

from pathlib import Path

import pytest
import yaml

from dpo_core.import_path import load_function
from flows.config import dump_config, load_config, validate
from labeling.judges.config import RuleJudge, members

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
DATA_FILES = (
    "prompts.jsonl",
    "train.jsonl",
    "test.jsonl",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Stands for the folder a user names with --set data_dir=…; loading reads no row of it."""
    for name in DATA_FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_loads_and_survives_being_written_down(path: Path, data_dir: Path) -> None:
    config = load_config(path, [f"data_dir={data_dir}"])
    assert validate(yaml.safe_load(dump_config(config)), "dumped") == config


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_names_functions_that_exist(path: Path, data_dir: Path) -> None:
    config = load_config(path, [f"data_dir={data_dir}"])
    judges = [*members(config.judge), *members(config.held_out_judge)]
    named = [judge.function for judge in judges if isinstance(judge, RuleJudge)]
    named += [config.policy.build, config.prompts.function]
    if config.sft is not None:
        named.append(config.sft.function)
    for function in filter(None, named):
        assert callable(load_function(function))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_is_documented(path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"configs/{path.name}" in page.read_text() for page in pages)
