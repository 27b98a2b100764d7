"""The server's own environment: made once, again after a kill, and a failure says what to do."""

from pathlib import Path

import pytest

from dpo_core.errors import BadInput, LabelServerFailed
from dpo_core.file_lock import hold
from labeling.server import environment


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing but what a test puts there."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def test_a_failure_shows_pips_reason_and_what_a_killed_one_left_is_removed(
    cache: Path, wheels: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "REQUIREMENTS", ("no-such-package==1.0",))
    folder = environment.environment_folder()
    folder.mkdir(parents=True)
    (folder / "left over").touch()
    with pytest.raises(LabelServerFailed, match="No matching distribution found") as failed:
        environment.ensure_python(print)
    assert "network error" in failed.value.remedy
    assert folder.exists() and not environment.is_complete(folder)
    assert not (folder / "left over").exists()


def test_it_is_named_after_its_requirements(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = environment.environment_folder()
    assert first.parent == cache / "ratchet" and "2.8.0" in first.name
    monkeypatch.setattr(environment, "REQUIREMENTS", (*environment.REQUIREMENTS, "another"))
    assert environment.environment_folder() != first


def test_a_complete_one_is_used_as_it_is_unless_its_python_is_gone(cache: Path) -> None:
    folder = environment.environment_folder()
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    (folder / "complete").touch()
    python.touch()
    said: list[str] = []
    assert environment.ensure_python(said.append) == python and said == []
    python.unlink()
    python.symlink_to(cache / "removed")
    assert not environment.is_complete(folder)


def test_two_do_not_make_it_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_PATIENCE_S", 0.0)
    said: list[str] = []
    folder = environment.environment_folder()
    with (
        hold(folder.with_name(f"{folder.name}.lock"), lambda found: AssertionError()),
        pytest.raises(BadInput, match="is still installing"),
    ):
        environment.ensure_python(said.append)
    assert said == ["Another process is installing Argilla's environment: waiting for it."]


def test_news_of_pips_output() -> None:
    lines = [
        "Collecting sqlalchemy~=2.0.0 (from argilla-server==2.8.0)\n",
        "  Using cached sqlalchemy.whl (3 MB)\n",
        "Installing collected packages: a, b, c\n",
    ]
    assert [news for line in lines for news in environment.progress_lines(line)] == [
        "collecting sqlalchemy~=2.0.0",
        "installing 3 packages",
    ]
