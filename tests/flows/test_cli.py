"""The command `ratchet`: its help, its exit codes, and the live bar in a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_campaign import RUN, Campaign

from tests import typed
from tests.preloading import preloaded

TIMEOUT_S = 300
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_help_names_commands_and_exit_codes(tmp_path: Path) -> None:
    done = Campaign(tmp_path).ratchet("--help")
    assert done.returncode == 0
    for word in ("run", "status", "report", "ui", "0 finished", "1 failed", "2 bad input", "130"):
        assert word in done.stdout
    for command in ("run", "status", "report", "ui"):
        shown = Campaign(tmp_path).ratchet(command, "--help")
        assert shown.returncode == 0 and f"Usage: ratchet {command}" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rum"], "No such command 'rum'"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "c.yaml", "--sed", "seed=1"], "No such option: --sed"),
        (["run", "c.yaml", "--set"], "Option '--set' requires an argument"),
        (["status", "nowhere"], "nowhere"),
        (["ui", "nowhere", "--allow-host", "http://me"], "http://me is not a host name"),
        (["report", "nowhere"], "nowhere"),
        (["ui", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_bad_input(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = Campaign(tmp_path).ratchet(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and list(tmp_path.iterdir()) == []


def test_interrupt_while_the_config_is_read(tmp_path: Path) -> None:
    """Reading waits for the pipe, so the signal arrives before anything is checked or written."""
    os.mkfifo(tmp_path / "c.yaml")
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "c.yaml"],
        cwd=tmp_path,
        env=Campaign(tmp_path).environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        writing = os.open(tmp_path / "c.yaml", os.O_WRONLY)  # returns once the other end is open
        state = Path(f"/proc/{process.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.001)  # between opening and reading, Python would not see the signal
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=TIMEOUT_S)
        os.close(writing)
    assert process.returncode == 130
    assert "Interrupted" in error and "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["c.yaml"]


def test_live_bar_in_a_terminal(copy: Campaign) -> None:
    """The bar shows where the campaign is and how fast; it goes, and the lines of steps stay."""
    # Long enough to be drawn, and told in several parts.
    slower = ("--set", "evaluation.samples_per_prompt=20", "--set", "sampling.shard_prompts=8")
    code, screen = in_terminal(copy, *RUN, "--set", "training.beta=0.4", *slower)
    assert code == 0, screen
    drawn = _ESCAPES.sub("", screen)
    assert re.search(r"round 1/2  training.*[0-9]+/[0-9]+ .*/s", drawn)
    assert re.search(r"round 1/2  answers.*[0-9]+/[0-9]+ completions  [0-9,]+/s", drawn)
    assert re.search(r"round 2/2  .*about [0-9.]+ min left", drawn)
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h"), "the cursor comes back"
    left = rendered(screen)
    assert not [line for line in left if "━" in line], "the bar is gone"
    steps = [line for line in left if line.startswith(("round 1/2", "round 2/2"))]
    assert len(steps) >= 10
    assert left[-1].startswith("report: ")


def test_a_forked_command_is_one_that_was_started(
    finished: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests fork most commands: same exit codes, same words, and what it prints is all there."""
    typed_words = (("--help",), ("run", "nowhere.yaml"), ("status", "campaign"), ("status", "--x"))
    monkeypatch.delenv(typed.COMMANDS, raising=False)
    started = [finished.ratchet(*words) for words in typed_words]
    with preloaded(tmp_path, "flows.cli") as path:
        monkeypatch.setenv(typed.COMMANDS, str(path))
        forked = [finished.ratchet(*words) for words in typed_words]
    assert [done.returncode for done in forked] == [0, 2, 0, 2]
    for one, other in zip(started, forked, strict=True):
        assert other.args[0] == "flows.cli" != one.args[0]  # it was forked indeed
        assert (one.returncode, one.stdout, one.stderr) == (
            other.returncode,
            other.stdout,
            other.stderr,
        )


def in_terminal(campaign: Campaign, *arguments: str) -> tuple[int, str]:
    """Run `ratchet` in a pseudo-terminal; its exit code and everything it wrote."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=campaign.folder,
        env={**campaign.environment(), "TERM": "xterm-256color", "COLUMNS": "120"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    written = bytearray()
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        ready, _, _ = select.select([screen], [], [], 1.0)
        try:
            written += os.read(screen, 65536) if ready else b""
        except OSError:  # the other end is closed
            break
    os.close(screen)
    return process.wait(TIMEOUT_S), written.decode()


def rendered(screen: str) -> list[str]:
    """The lines that a terminal shows in the end, as far as the bar's own movements go."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", screen):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token.endswith("A") and token.startswith("\x1b["):
            row = max(row - int(token[2:-1] or 1), 0)
        elif not token.startswith("\x1b") and token != "\r":
            lines[row] += token
    return [line for line in lines if line.strip()]
