"""A schedule that cannot be: one error, and nothing is left behind."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dpo_core.campaign.layout import Layout
from dpo_core.server_keys import provide_key, worker_key_path
from flows.cli import main
from flows.worker.folder import hold_folder, write_address

CONFIG = Path(__file__).parents[3] / "configs" / "demo-cpu.yaml"


Refused = Callable[..., list[str]]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """refused(argument, …) -> the lines of the error that ends the command, typed in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["ratchet", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        return shown.err.splitlines()

    return typed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cron", "every monday"), "'every monday' is not a cron line"),
        (("--cron", "0 2 * * 1", "--timezone", "Mars/Olympus"), "'Mars/Olympus' is not a timezone"),
        (("--cron", "0 2 30 2 *"), "'0 2 30 2 *' never occurs"),
    ],
)
def test_nothing_is_written(
    tmp_path: Path, refused: Refused, options: tuple[str, ...], said: str
) -> None:
    message, *remedy = refused("schedule", str(CONFIG), *options)
    assert message == f"ratchet: {said}" and len(remedy) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("schedule", "--list"), ("worker",), ("submit", str(CONFIG))])
def test_a_prefect_server_that_does_not_answer(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "flows.cli", *command),
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},  # nobody listens there
        capture_output=True,
        text=True,
        timeout=120,
    )
    message, remedy = done.stderr.splitlines()
    assert done.returncode == 2
    assert message.startswith(
        "ratchet: the Prefect server at http://127.0.0.1:9/api does not answer"
    )
    assert remedy.startswith("  Start it, or unset PREFECT_API_URL")


FOR_A_WORKER = pytest.mark.parametrize(
    "command", [("schedule", str(CONFIG), "--cron", "0 2 * * 1"), ("submit", str(CONFIG))]
)


@FOR_A_WORKER
def test_a_worker_whose_server_is_gone(
    tmp_path: Path, refused: Refused, command: tuple[str, ...]
) -> None:
    with _worker_at(tmp_path / "home", "http://127.0.0.1:9/api"):  # nobody listens there
        message, remedy = refused(*command, "--dir", "home")
    assert message.startswith(
        "ratchet: the Prefect server at http://127.0.0.1:9/api does not answer"
    )
    assert remedy == "  Check that its worker runs, or restart it with `ratchet worker`."


@FOR_A_WORKER
def test_a_worker_that_starts_where_another_was(
    tmp_path: Path, refused: Refused, command: tuple[str, ...]
) -> None:
    with _worker_at(tmp_path / "home", "http://127.0.0.1:9/api"):
        pass
    with hold_folder(Layout(tmp_path / "home")):
        message, remedy = refused(*command, "--dir", "home")
    assert message == "ratchet: the worker in home is still starting"
    assert remedy == "  Try again when it has printed the address of its runs."


@contextmanager
def _worker_at(folder: Path, api: str) -> Iterator[None]:
    """The folder of a worker, with this process as the worker."""
    with hold_folder(Layout(folder)):
        provide_key(worker_key_path(Layout(folder)))
        write_address(Layout(folder), api)
        yield
