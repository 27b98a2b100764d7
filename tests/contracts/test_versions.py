"""What `make lint` says of versions; resolving them takes a package index and minutes."""

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import sys

    path = ROOT / "scripts" / "check_versions.py"
    spec = importlib.util.spec_from_file_location("check_versions", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "check_versions", module)
    spec.loader.exec_module(module)
    return module


def test_every_python_and_profile_is_resolved_alone_and_with_the_core(versions: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [(case.python, case.name) for case in versions.cases(project)]
    kinds = ("core", "gpu", "core + gpu", "cpu", "core + cpu")
    assert names == [(python, kind) for python in ("3.11", "3.12", "3.13") for kind in kinds]


def test_what_the_second_side_would_change_is_told(versions: ModuleType) -> None:
    core, gpu = {"fastapi": "0.165.0", "rich": "15"}, {"fastapi": "0.136.3", "vllm": "0.32.0"}
    both = {"fastapi": "0.136.3", "rich": "15", "vllm": "0.32.0"}
    found = {("3.12", "core"): core, ("3.12", "gpu"): gpu, ("3.12", "core + gpu"): both}
    [change] = versions.changes(found)
    assert "core alone takes fastapi 0.165.0, and gpu wants 0.136.3 beside it" in change
    found[("3.12", "core")] = {**core, "fastapi": "0.136.3"}
    assert list(versions.changes(found)) == []


def test_without_an_index_it_says_so(
    versions: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versions, "KEPT", Path("/nowhere/kept.json"))
    monkeypatch.setattr(versions, "reachable", lambda: False)
    assert versions.main() == 0
    assert "NOT CHECKED: no package index answers" in capsys.readouterr().out


def test_each_requirement_stands_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for listed in (project["dependencies"], *project["optional-dependencies"].values()):
        assert len(set(listed)) == len(listed)
