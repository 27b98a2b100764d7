"""Import paths: what they load, what they refuse, and which source their hash covers."""

import subprocess
import sys
from pathlib import Path

import pytest

from dpo_core.errors import ConfigError
from dpo_core.import_path import load_function, source_hash

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


def test_hash_ignores_modules_that_are_not_imported(package: Path) -> None:
    path = f"{package.name}.judge:score"
    before = source_hash(path)
    (package / "unused.py").write_text("# changed\n")
    assert source_hash(path) == before


def test_loads_no_model_library() -> None:
    code = "import sys, dpo_core.import_path; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
