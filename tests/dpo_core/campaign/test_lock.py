"""One process runs a campaign at a time."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpo_core.campaign.lock import holder, locked
from dpo_core.errors import CampaignLocked

HOLD = (
    "import sys, time; from pathlib import Path; from dpo_core.campaign.lock import locked\n"
    "with locked(Path(sys.argv[1])):\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "campaign" / "lock"


@pytest.fixture
def other(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_nobody_holds_a_lock_that_is_not_there_or_was_released(path: Path) -> None:
    assert holder(path) is None
    with locked(path):
        assert holder(path) == {"pid": os.getpid(), "host": socket.gethostname()}
    assert holder(path) is None


def test_refusal_names_the_other_process_and_the_way_out(
    path: Path, other: "subprocess.Popen[str]"
) -> None:
    with pytest.raises(CampaignLocked) as caught, locked(path):
        pass
    assert f"process {other.pid} on {socket.gethostname()}" in caught.value.message
    assert f"ratchet status {path.parent}" in caught.value.remedy
    assert caught.value.exit_code == 2
    assert holder(path) == {"pid": other.pid, "host": socket.gethostname()}  # still


def test_sigkill_frees_the_lock(path: Path, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(path) is None
    with locked(path):
        assert holder(path) == {"pid": os.getpid(), "host": socket.gethostname()}


def test_an_error_inside_frees_the_lock(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(path):
        raise ZeroDivisionError
    assert holder(path) is None


def test_a_child_that_outlives_its_parent_holds_nothing(path: Path) -> None:
    with locked(path):
        command = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
    try:
        with locked(path):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_folder_that_can_only_be_read_can_be_asked(path: Path) -> None:
    with locked(path):
        pass
    path.chmod(0o444)
    assert holder(path) is None


def test_asking_who_holds_it_never_gets_a_run_refused(path: Path) -> None:
    with locked(path):
        pass
    ask = (
        "import sys; from pathlib import Path; from dpo_core.campaign.lock import holder\n"
        "print('up', flush=True)\n"
        "while True: holder(Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", ask, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as asking:
        try:
            assert asking.stdout is not None
            asking.stdout.readline()
            for _ in range(200):
                with locked(path):
                    pass
        finally:
            asking.kill()


def test_a_holder_that_wrote_nothing_yet_is_unknown(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("")
    import fcntl

    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder(path) == {"pid": "unknown", "host": "unknown"}
