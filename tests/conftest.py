"""Fixtures for every test."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

CHROMIUM_REMEDY = "browser tests need chromium; as root: apt-get install -y chromium"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the distribution's chromium. Without it a test fails: it is never skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(CHROMIUM_REMEDY)
    return path


_NUMBERS = itertools.count()


@pytest.fixture
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """rule(source) -> import path of the function `score` in a new module with that source."""

    def write(source: str) -> str:
        name = f"user_code_{next(_NUMBERS)}"  # a module is imported once, so each is a new one
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        return f"{name}:score"

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_gpu():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
