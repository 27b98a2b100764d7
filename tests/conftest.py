"""Fixtures for every test."""

import shutil

import pytest

CHROMIUM_REMEDY = "browser tests need chromium; as root: apt-get install -y chromium"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the distribution's chromium. Without it a test fails: it is never skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(CHROMIUM_REMEDY)
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_gpu():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
