"""Fixtures for every test."""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dpo_core import collector, preloaded
from dpo_core.children import child_environment
from dpo_core.user_cache import SIZE
from tests import typed
from tests.made_once import run_folder
from tests.shared_argilla import SharedArgilla, offered, shared_argilla

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM_REMEDY = "browser tests need chromium; as root: apt-get install -y chromium"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the distribution's chromium. Without it a test fails: it is never skipped."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail(CHROMIUM_REMEDY)
    return path


@pytest.fixture(scope="module")  # while it is open, no other test of the process may run asyncio
def browser(chromium: str) -> Iterator["Browser"]:
    """A browser for the tests of one file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> SharedArgilla:
    """One Argilla server for all tests of all workers; each makes datasets and users of its own.

    The first time on a machine it waits for the server's environment, about a minute.
    """
    return shared_argilla(run_folder(tmp_path_factory) / "argilla")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", help="folder for the pictures that the docs show")


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: into the docs for `make screenshots`, else nowhere that lasts."""
    chosen = request.config.getoption("--screenshots")
    return Path(chosen).absolute() if chosen else tmp_path_factory.mktemp("screenshots")


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


_OFFERED = ExitStack()
_PRELOADED: list["subprocess.Popen[bytes]"] = []
_BY_CHILDREN = (
    "pandas",  # by pyarrow, with the first table
    "peft",
    "torch.distributed.run",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
    "dpo_core.training.train_worker",
    "generation.worker",
    "generation.judge_worker",
    "generation.transformers_engine",
    "generation.probe",
    "flows.tracking.sender",
    "tests.prefect_imported_once",
    "flows.worker.carry_out",
    "flows.worker.flow",
)
_BY_COMMANDS = (
    "jinja2",
    "pandas",
    "pyarrow.dataset",
    "scipy.sparse.csgraph",
    "scipy.special",
    "tensorboard.summary.writer.event_file_writer",
    "vl_convert",
    "flows.cli",
    "flows.campaign",
    "flows.operations.export",
    "flows.run",
    "reporting.compare.render",
    "reporting.terminal",
    "tests.unbuffered",
)


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _OFFERED.enter_context(offered())
    # Nobody makes blocks in the pages here, and their types take each server 0.7 CPU-seconds.
    os.environ.setdefault("PREFECT_API_BLOCKS_REGISTER_ON_START", "false")
    # Each test makes its own base, and leaves the user's cache alone.
    os.environ[SIZE] = "0"
    # Workers side by side would each take every processor for every product.
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    elif config.getoption("numprocesses", None):
        folder = tempfile.mkdtemp(prefix="ratchet-")
        os.environ[preloaded.SOCKET] = _preload(f"{folder}/children", _BY_CHILDREN)
        os.environ[typed.COMMANDS] = _preload(f"{folder}/commands", _BY_COMMANDS)


def _preload(path: str, modules: Sequence[str]) -> str:
    _PRELOADED.append(
        subprocess.Popen(
            [sys.executable, "-m", preloaded.__name__, path, *modules],
            stdin=subprocess.PIPE,
            env={**os.environ, **child_environment(threads=1)},
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
    )
    return path


def pytest_unconfigure() -> None:
    _OFFERED.close()
    for process in _PRELOADED:
        process.communicate()
    if _PRELOADED:
        shutil.rmtree(Path(os.environ[preloaded.SOCKET]).parent)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The collector took half of the time in which a worker imports the tests."""
    collector.begin_imports()
    try:
        return (yield)
    finally:
        collector.end_imports()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_gpu():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
