"""Every command on every page is one that exists, and one that a test runs, unless it says what it
needs that no test has: a comment `# needs the network`, `# needs a GPU`, and the like.

Run means: some test names the command together with each of its options. Whole pages are not typed:
their commands would train for hours.
"""

import ast
import functools
import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from flows.cli import app
from flows.config import CampaignConfig, load_config
from tests.contracts.documented import ROOT, Documented, commands

PLACES = ("README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/*.md", "examples/*.md")
LISTED = subprocess.run(
    ["git", "ls-files", *PLACES], cwd=ROOT, capture_output=True, text=True, check=True
)
PAGES = sorted(ROOT / name for name in LISTED.stdout.split())
SHOWN = [command for page in PAGES for command in commands(page)]
MAKE = {
    "demo": "tests/flows/test_demo.py",  # its recipe; the commands are the target's own
    "docs": "tests/contracts/test_docs.py",
    "lint": "tests/contracts/test_site.py",
    "readme": "tests/flows/test_demo.py",
    "setup": "tests/contracts/test_wheel.py",
    "site": "tests/contracts/test_site.py",
    "test": "tests/contracts/test_documented_commands.py",
}
"""Targets, and the test that does what they do. The others take an hour and say so."""
MODULES = {
    "benchmarks.draws": "tests/benchmarks",
    "benchmarks.gpu": "tests/benchmarks",
    "benchmarks.gpu.page": "tests/benchmarks",
    "dpo_core.training.processes.rank_worker": "tests/dpo_core",
    "examples.answer_match": "tests/examples",
    "examples.smollm2": "tests/examples",
    "tests.contracts.import_graph": "tests/contracts",
}
SCRIPTS = ("test_my_judge.py",)
"""Files that `ratchet init` writes; tests/flows/test_init.py runs them."""


def of(name: str) -> list[Documented]:
    return [command for command in SHOWN if command.words[0] == name]


def test_pages_have_commands() -> None:
    assert len(of("ratchet")) > 70
    assert len(of("make")) > 5


@pytest.mark.parametrize("shown", of("ratchet"), ids=str)
def test_ratchet_command_parses(shown: Documented, data_dir: Path) -> None:
    command, rest = _command(shown.words[1:])
    if rest == ("--version",):
        return
    # A bucket that is named is looked at when the command is parsed.
    words = [re.sub(r"^s3://.*", str(data_dir), word) for word in rest]
    given = command.make_context("ratchet", words).params  # raises what a person would see
    config = given.get("config")
    named = isinstance(config, Path) and config.parts[0] == "configs"
    overrides = [one for one in given.get("overrides") or () if not DEPENDS.search(one)]
    if named or overrides:
        path = ROOT / config if named else ROOT / "configs/demo-cpu.yaml"
        load_config(path, [*overrides, f"data_dir={data_dir}"])


DEPENDS = re.compile(r"[A-Z]{3}|^data_dir=|^data\.imported=|^policy\.model=|s3://")
"""Values that name what only the reader has; their keys are checked where others are."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ("prompts.jsonl", "train.jsonl", "test.jsonl", "SmolLM2-135M-Instruct.Q4_1.gguf"):
        (tmp_path / name).touch()
    return tmp_path


def test_overridden_keys_exist() -> None:
    schema = CampaignConfig.model_json_schema()
    keys = {
        word.partition("=")[0]
        for shown in of("ratchet")
        for flag, word in pairwise(shown.words)
        if flag == "--set" and word[0].islower()
    }
    assert sorted(key for key in keys if not _exists(key.split("."), schema, schema["$defs"])) == []


def _exists(path: list[str], section: dict[str, Any], definitions: dict[str, Any]) -> bool:
    field = section.get("properties", {}).get(path[0])
    inner = re.findall(r'"#/\$defs/(\w+)"', json.dumps(field))
    if field is None or len(path) == 1:
        return field is not None
    return any(_exists(path[1:], definitions[name], definitions) for name in inner)


def test_ratchet_commands_run_in_tests() -> None:
    lacking = []
    for shown in of("ratchet"):
        names = _names(shown.words[1:])
        if not shown.marked and not _is_tested(names, _options(shown.words)):
            lacking.append(str(shown))
    assert lacking == [], "add a test, or say what it needs: `# needs the network`"


def test_make_and_python_commands_run_in_tests() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for shown in of("make"):
        assert shown.words[1] in targets, shown
        tested = shown.words[1] in MAKE and (ROOT / MAKE[shown.words[1]]).exists()
        assert shown.marked or tested, f"{shown}: which test runs it?"
    for shown in of("python"):
        if shown.words[1] == "-m":
            assert importlib.util.find_spec(shown.words[2]), shown
            known = shown.words[2] in (*MODULES, "venv")
            assert shown.marked or known, f"{shown}: which test runs it?"
        else:
            assert shown.words[1] in SCRIPTS or (ROOT / shown.words[1]).is_file(), shown


@pytest.mark.parametrize("module", MODULES)
def test_module_is_run_by_a_test(module: str) -> None:
    package, _, name = module.rpartition(".")
    texts = [path.read_text() for path in (ROOT / MODULES[module]).rglob("*.py")]
    imported = re.compile(rf"{re.escape(module)}\b|from {re.escape(package)} import .*\b{name}\b")
    assert any(imported.search(text) for text in texts)


def test_pip_says_that_it_needs_the_network() -> None:
    assert [str(shown) for shown in of("pip") if not shown.marked] == []


def _command(words: tuple[str, ...]) -> tuple[click.Command, tuple[str, ...]]:
    """The command that the words name, and its arguments."""
    command: click.Command = get_command(app)
    while words and (inner := getattr(command, "commands", {}).get(words[0])):
        command, words = inner, words[1:]
    return command, words


def _names(words: tuple[str, ...]) -> tuple[str, ...]:
    _, rest = _command(words)
    return words[: len(words) - len(rest)]


def _options(words: tuple[str, ...]) -> set[str]:
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def _is_tested(names: tuple[str, ...], options: set[str]) -> bool:
    """Whether the tests that name the command have each of the options."""
    files = [texts for texts in _texts_of_tests() if all(_has(texts, name) for name in names)]
    return bool(files) and all(any(_has(f, option) for f in files) for option in options)


def _has(texts: frozenset[str], word: str) -> bool:
    return word in texts


@functools.cache
def _texts_of_tests() -> tuple[frozenset[str], ...]:
    """The words of all strings of each test file, and the names it uses."""
    paths = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    return tuple(frozenset(_words(path)) for path in paths if path != Path(__file__))


def _words(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):  # helpers are called as the command that they type
            yield node.id
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for word in node.value.split():
                yield word.partition("=")[0].strip("`")
