"""Every recipe under configs/ loads, resolves its functions and is documented."""

import re
from pathlib import Path

import pytest
import yaml

from dpo_core.import_path import load_function
from dpo_core.model_shape import Shape
from flows.config import dump_config, load_config, validate
from flows.doctor.memory import Device, estimate, size_of
from labeling.judges.config import RuleJudge, members

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").rglob("*.yaml"))
PUBLISHED = [path for path in RECIPES if path.parent.name == "recipes"]
LLAMA_3 = Shape(8_030_261_248, 32, 4096, 14336, 128_256, 8, 128, 8192)
SHAPES = {
    "RLHFlow/LLaMA3-SFT": LLAMA_3,
    "RLHFlow/LLaMA3-SFT-v2": LLAMA_3,
    "meta-llama/Meta-Llama-3-8B-Instruct": LLAMA_3,
    "allenai/Llama-3.1-Tulu-3-8B-SFT": LLAMA_3,  # but for 8 more tokens, and longer sequences
    "mistralai/Mistral-7B-Instruct-v0.2": Shape(
        7_241_732_096, 32, 4096, 14336, 32_000, 8, 128, 32_768
    ),
    "openchat/openchat-3.5-0106": Shape(7_241_748_480, 32, 4096, 14336, 32_002, 8, 128, 8192),
    "meta-llama/Llama-2-70b-chat-hf": Shape(68_976_648_192, 80, 8192, 28672, 32_000, 8, 128, 4096),
}
"""The published policies, as their config.json has them."""
DATA_FILES = (
    "prompts.jsonl",
    "train.jsonl",
    "test.jsonl",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Stands for the folder a user names with --set data_dir=…; loading reads no row of it."""
    for name in DATA_FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_recipe_loads_and_survives_being_written_down(path: Path, data_dir: Path) -> None:
    config = load_config(path, [f"data_dir={data_dir}"])
    assert validate(yaml.safe_load(dump_config(config)), "dumped") == config


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_recipe_names_functions_that_exist(path: Path, data_dir: Path) -> None:
    config = load_config(path, [f"data_dir={data_dir}"])
    judges = [*members(config.judge), *members(config.held_out_judge)]
    named = [judge.function for judge in judges if isinstance(judge, RuleJudge)]
    named += [config.policy.build, config.prompts.function]
    if config.sft is not None:
        named.append(config.sft.function)
    for function in filter(None, named):
        assert callable(load_function(function))


@pytest.mark.parametrize("path", RECIPES, ids=by_name)
def test_recipe_is_documented(path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(by_name(path) in page.read_text() for page in pages)


@pytest.mark.parametrize("path", PUBLISHED, ids=by_name)
def test_published_recipe_says_what_memory_the_doctor_estimates(path: Path, data_dir: Path) -> None:
    config = load_config(path, [f"data_dir={data_dir}"])
    shape = SHAPES[config.policy.model or ""]
    size = size_of(shape)
    assert size is not None
    found = estimate(shape, size, config, Device(gpu=True, gib=80, count=8))
    said = re.search(r"^# Memory: training (\S+) GiB, sampling (\S+) GiB", path.read_text(), re.M)
    assert said, "its head has a line `# Memory: …`"
    assert said.groups() == (f"{found.training_gib:.1f}", f"{found.sampling_gib:.1f}")


@pytest.mark.parametrize("path", PUBLISHED, ids=by_name)
def test_published_recipe_says_what_it_is(path: Path) -> None:
    head = path.read_text().split("\nname:")[0]
    for part in ("# Source: ", "# Published: ", "# What differs: "):
        assert part in head
