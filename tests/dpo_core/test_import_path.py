"""Import paths: what they load, what they refuse, and which source their hash covers."""

import subprocess
import sys
from pathlib import Path

import pytest

from dpo_core.errors import ConfigError
from dpo_core.import_path import (
    list_covered_modules,
    load_function,
    source_hash,
    source_hash_of_package,
)

_JUDGE = """
from .sub import words

LIMIT = 3

def score():
    return words.GOOD
"""


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A package in the current directory, under a name of its own so that no import is cached."""
    folder = tmp_path / ("pkg_" + "".join(c for c in request.node.name if c.isalnum()))
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "judge.py").write_text(_JUDGE)
    (folder / "sub" / "words.py").write_text("import json\nfrom .. import shared\nGOOD = 'good'\n")
    (folder / "shared.py").write_text("from . import judge\n")
    (folder / "unused.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    return folder


def test_loads_a_function_from_the_current_directory(package: Path) -> None:
    assert load_function(f"{package.name}.judge:score")() == "good"


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        (".judge.score", "not an import path"),
        (".judge:", "not an import path"),
        (".jugde:score", "Did you mean judge?"),
        (".judge.deeper:score", "no module"),
        (".judge:scoer", "Did you mean score?"),
        (".judge:LIMIT", "is a int"),
        (".unused:score", "raised RuntimeError: never imported"),
    ],
)
def test_says_what_is_wrong_with_a_path(package: Path, suffix: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_function(package.name + suffix)
    assert says in str(error.value)


def test_refuses_an_unknown_top_level_module() -> None:
    with pytest.raises(ConfigError, match="no module surely_not_there"):
        load_function("surely_not_there:f")


@pytest.mark.parametrize(
    "name", ["judge.py", "sub/words.py", "shared.py", "__init__.py", "sub/__init__.py"]
)
def test_hash_covers_what_the_function_imports_from_its_package(package: Path, name: str) -> None:
    path = f"{package.name}.judge:score"
    before = source_hash(path)
    assert source_hash(path) == before
    (package / name).write_text((package / name).read_text() + "# changed\n")
    assert source_hash(path) != before


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A judge that is a module of its own, and modules beside it that it imports in turn."""
    (tmp_path / "lone_judge.py").write_text("import json\nfrom lone_words import GOOD\n")
    (tmp_path / "lone_words.py").write_text("GOOD = 'good'\ndef late():\n    import lone.deep\n")
    (tmp_path / "lone").mkdir()
    (tmp_path / "lone" / "__init__.py").write_text("raise RuntimeError('executed')\n")
    (tmp_path / "lone" / "deep.py").write_text("from . import sibling\n")
    (tmp_path / "lone" / "sibling.py").write_text("LIMIT = 3\n")
    (tmp_path / "unused.py").write_text("x = 1\n")
    installed = tmp_path / "venv" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "lone_library.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["lone_judge.py", "lone_words.py", "lone/__init__.py", "lone/deep.py", "lone/sibling.py"],
)
def test_hash_covers_modules_beside_the_function_s_that_it_imports(beside: Path, name: str) -> None:
    before = source_hash("lone_judge:score")
    with (beside / name).open("a") as file:
        file.write("# another version\n")
    assert source_hash("lone_judge:score") != before


def test_hash_covers_neither_libraries_nor_ratchet_nor_what_is_not_imported(beside: Path) -> None:
    with (beside / "lone_judge.py").open("a") as file:
        file.write("import lone_library\nimport dpo_core.records\n")
    before = source_hash("lone_judge:score")
    for name in ("unused.py", "venv/site-packages/lone_library.py"):
        with (beside / name).open("a") as file:
            file.write("# another version\n")
    assert source_hash("lone_judge:score") == before
    covered = list_covered_modules("examples.reviews.judge:score")
    assert {name.partition(".")[0] for name in covered} == {"examples"}


def test_what_older_versions_hashed_is_the_package_alone(beside: Path) -> None:
    before = source_hash_of_package("lone_judge:score")
    (beside / "lone_words.py").write_text("GOOD = 'fine'\n")
    assert source_hash_of_package("lone_judge:score") == before


def test_a_helper_that_is_no_python_is_named(beside: Path) -> None:
    (beside / "lone_words.py").write_text("def (:\n")
    with pytest.raises(ConfigError, match=r"(?s)lone_words\.py.*Fix the module"):
        source_hash("lone_judge:score")


def test_hash_ignores_modules_that_are_not_imported(package: Path) -> None:
    path = f"{package.name}.judge:score"
    before = source_hash(path)
    (package / "unused.py").write_text("# changed\n")
    assert source_hash(path) == before


def test_loads_no_model_library() -> None:
    code = "import sys, dpo_core.import_path; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
