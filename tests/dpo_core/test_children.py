"""Child processes: their errors are typed, and none of them is ever left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dpo_core.children import Child
from dpo_core.errors import (
    BadInput,
    ChildDied,
    ChildFailed,
    DiskFull,
    InvariantViolated,
    RatchetError,
)
from dpo_core.full_disk import is_out_of_space
from dpo_core.preloaded import SOCKET, Forked
from tests.preloading import preloaded

CHILD = """
import os, signal, subprocess, sys, time
from dpo_core.children import NOTICES, serve
from dpo_core.errors import BadInput, PromptError

def handle(request, report):
    print("asked for", request["do"], flush=True)
    match request["do"]:
        case "add":
            for done in range(1, 4):
                report(done, 3, "numbers")
            return {"sum": sum(request["numbers"])}
        case "raise":
            raise ValueError("not today")
        case "refuse":
            raise PromptError("row 3 is empty", "Fill it.")
        case "no_space":
            raise OSError(28, "No space left on device")
        case "notice":
            NOTICES.warning("%s is odd", request["what"])
            return {}
        case "exit":
            print("the last words", flush=True); os._exit(3)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spawn":
            sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
            return {"pid": subprocess.Popen(sleep).pid}
        case "sleep":
            time.sleep(600)

if __name__ == "__main__":
    serve(handle)
"""
START_TIMEOUT_S = 20.0


@pytest.fixture
def module(rule: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that serves as a child; its folder is on the children's path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return rule(CHILD).partition(":")[0]


@pytest.fixture(autouse=True, params=["started", "forked"])
def born(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """How children begin: all that is true of those started is true of those forked."""
    with ExitStack() as open_till_then:
        if request.param == "forked":
            monkeypatch.setenv(SOCKET, str(open_till_then.enter_context(preloaded(tmp_path))))
        else:
            monkeypatch.delenv(SOCKET, raising=False)
        yield request.param


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "child.log"


def gone(pid: int) -> bool:
    """Whether the process has ended; one that only waits for its parent to notice has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second, where it ends as it is read
        return True


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still alive: {[p for p in pids if not gone(p)]}"
        time.sleep(0.02)


def test_requests_progress_results_and_log(module: str, log: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    with Child.start(module, log) as child:
        for numbers in ([1, 2], [3, 4]):
            result = child.ask({"do": "add", "numbers": numbers}, lambda *e: seen.append(e))
            assert result == {"sum": sum(numbers)}
        assert child.seconds_start > 0
        pid = child.process.pid
    assert seen == [(1, 3, "numbers"), (2, 3, "numbers"), (3, 3, "numbers")] * 2
    assert log.read_text() == "asked for add\n" * 2  # what it prints never reaches the screen
    assert gone(pid)


def test_notices_reach_the_parent_and_the_log(module: str, log: Path) -> None:
    heard: list[str] = []
    with Child.start(module, log) as child:
        child.ask({"do": "notice", "what": "pair 7"}, notice=heard.append)
        child.ask({"do": "notice", "what": "pair 8"})
    assert heard == ["pair 7 is odd"]
    assert log.read_text().splitlines() == [
        "asked for notice",
        "pair 7 is odd",
        "asked for notice",
        "pair 8 is odd",
    ]


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("raise", ChildFailed, "ValueError: not today"),
        ("refuse", BadInput, "row 3 is empty"),
        ("no_space", DiskFull, "No space left"),
    ],
)
def test_errors_keep_their_kind_and_the_child_is_asked_no_more(
    module: str, log: Path, do: str, kind: type[RatchetError], message: str
) -> None:
    with Child.start(module, log) as child:
        with pytest.raises(kind, match=message) as caught:
            child.ask({"do": do})
        assert caught.value.remedy == ("Fill it." if do == "refuse" else f"Its log: {log}")
        assert child.alive() and not child.usable()
        with pytest.raises(InvariantViolated, match="sent a request after one that failed"):
            child.ask({"do": "add", "numbers": [1]})
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("do", "how"), [("exit", "exited with code 3"), ("die", "was killed by SIGKILL (often")]
)
def test_a_child_that_dies_is_named_with_the_end_of_its_log(
    module: str, log: Path, do: str, how: str
) -> None:
    with Child.start(module, log) as child:
        with pytest.raises(ChildDied) as caught:
            child.ask({"do": do})
        assert f"the child process {module} {how}" in caught.value.message
        assert f"asked for {do}" in caught.value.message
        assert "ratchet run" in caught.value.remedy
        assert not child.alive()
        with pytest.raises(ChildDied):  # also when it is asked again
            child.ask({"do": "add", "numbers": []})


def test_a_child_that_cannot_start(rule: Callable[[str], str], module: str, log: Path) -> None:
    broken = rule("import nothing_of_that_name\n").partition(":")[0]
    with pytest.raises(ChildDied, match="exited with code 1") as caught:
        Child.start(broken, log)
    assert "No module named 'nothing_of_that_name'" in caught.value.message


def test_closing_ends_what_the_child_started(module: str, log: Path) -> None:
    with Child.start(module, log) as child:
        grandchild = child.ask({"do": "spawn"})["pid"]
        assert not gone(grandchild)
    wait_until_gone(child.process.pid, grandchild)


@pytest.mark.parametrize("busy", [False, True])
def test_nothing_survives_a_killed_parent(module: str, log: Path, busy: bool) -> None:
    parent = (
        "import json, sys, threading; from pathlib import Path\n"
        "from dpo_core.children import Child\n"
        "child = Child.start(sys.argv[1], Path(sys.argv[2]))\n"
        "pids = [child.process.pid, child.ask({'do': 'spawn'})['pid']]\n"
        "print(json.dumps(pids), flush=True)\n"
        f"child.ask({{'do': 'sleep'}}) if {busy} else threading.Event().wait()\n"
    )
    command = [sys.executable, "-c", parent, module, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        assert not any(gone(pid) for pid in pids)
        process.send_signal(signal.SIGKILL)
    wait_until_gone(*pids)


def test_a_forked_child_looks_like_a_started_one(
    born: str, module: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_TEST_MARK", "there")
    with Child.start(module, log) as child:
        assert isinstance(child.process, Forked) == (born == "forked")
        shown = Path(f"/proc/{child.process.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert shown == [os.fsencode(sys.executable), b"-m", b"dpo_core.children", module.encode()]
        variables = Path(f"/proc/{child.process.pid}/environ").read_bytes().split(b"\0")
        assert b"RATCHET_TEST_MARK=there" in variables
        assert f"PYTHONPATH={os.environ['PYTHONPATH']}".encode() in variables
        assert os.getpgid(child.process.pid) == child.process.pid
        assert child.cpu_seconds() < 2
        os.kill(child.process.pid, signal.SIGTERM)
        assert child.process.wait() == -signal.SIGTERM


def test_what_was_imported_is_there(tmp_path: Path, rule: Callable[[str], str], log: Path) -> None:
    module = rule("import json, sys; from dpo_core.children import serve\n" + _TELLS)
    other = tmp_path / "other"
    other.mkdir()
    with preloaded(other, "calendar") as path:
        env = {SOCKET: str(path), "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        with Child.start(module.partition(":")[0], log, env) as child:
            assert child.ask({}) == {"there": True, "cwd": str(Path.cwd())}


_TELLS = """
import os
there = "calendar" in sys.modules
serve(lambda request, report: {"there": there, "cwd": os.getcwd()})
"""


@pytest.mark.parametrize(
    "env", [{"OMP_NUM_THREADS": "7"}, {"LD_PRELOAD": ""}, {SOCKET: "/nowhere"}, {SOCKET: ""}]
)
def test_what_was_read_at_the_import_is_not_shared(
    module: str, log: Path, env: dict[str, str]
) -> None:
    with Child.start(module, log, env) as child:
        assert isinstance(child.process, subprocess.Popen)
        assert child.ask({"do": "add", "numbers": [1]}) == {"sum": 1}


STANDS_FOR = """
import os, signal, sys, time
from dpo_core.preloaded import run_forked

if __name__ == "__main__":
    code = run_forked(sys.modules["__main__"].__spec__.name)
    if code is None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        print(os.getpid(), os.getppid(), flush=True)
        time.sleep(600)
    sys.exit(code)
"""


@pytest.mark.parametrize("ended", ["told", "fork killed", "killed"])
def test_a_process_that_others_start_is_forked_as_well(
    born: str, rule: Callable[[str], str], tmp_path: Path, ended: str
) -> None:
    """It ends as its fork does, and its fork with it."""
    name = rule(STANDS_FOR).partition(":")[0]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", name]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        works, parent = map(int, process.stdout.readline().split())
        assert (works == process.pid) == (born == "started")
        assert (parent == os.getpid()) == (born == "started")
        number = signal.SIGTERM if ended == "told" else signal.SIGKILL
        os.kill(works if ended == "fork killed" else process.pid, number)
        assert process.wait(START_TIMEOUT_S) == (7 if ended == "told" else -signal.SIGKILL)
        wait_until_gone(works)


def test_what_counts_as_no_room() -> None:
    assert is_out_of_space(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert is_out_of_space(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not is_out_of_space(ValueError("not enough rows"))
