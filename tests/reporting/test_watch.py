"""`ratchet status --watch`: a campaign that goes on before one's eyes."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from small_campaign import ROOT
from written_campaign import Written

from dpo_core.campaign.lock import locked

TIMEOUT_S = 60


@contextmanager
def watching(campaign: Written, stdout: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "flows.cli", "status", str(campaign.root), "--watch"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "90", "LINES": "30"}
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


class Reader:
    """What a process has written, until something stands there."""

    def __init__(self, fd: int) -> None:
        self.fd, self.text = fd, ""

    def until(self, awaited: str) -> str:
        """What came since the last call."""
        before, end = len(self.text), time.monotonic() + TIMEOUT_S
        while awaited not in self.text[before:]:
            assert time.monotonic() < end, self.text
            if select.select([self.fd], [], [], 0.5)[0]:
                self.text += os.read(self.fd, 65536).decode()
        return self.text[before:]


def test_a_pipe_gets_each_change_as_a_line_and_the_end_ends_it(tmp_path: Path) -> None:
    campaign = Written(tmp_path / "c", rounds=2)
    with locked(campaign.layout.lock), watching(campaign, subprocess.PIPE) as process:
        assert process.stdout is not None
        reader = Reader(process.stdout.fileno())
        reader.until("written: running, 0 of 2 rounds done, now between steps\n")
        campaign.round(1)
        assert "Promoted: win rate 57.0%" in reader.until("written: running, 1 of 2 rounds done")
        campaign.round(2)
        news = reader.until("written: running, 2 of 2 rounds done")
        assert "round 2 (" in news and "round 1 (" not in news
        # The campaign's process ends when this one lets go of the lock.
        os.kill(process.pid, 0)
        campaign.layout.lock.unlink()
        assert process.wait(TIMEOUT_S) == 0
    assert "\x1b" not in reader.text


def test_a_terminal_is_redrawn_in_place_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    campaign = Written(tmp_path / "c", rounds=2)
    ours, theirs = pty.openpty()
    with locked(campaign.layout.lock), watching(campaign, theirs) as process:
        reader = Reader(ours)
        reader.until("Ctrl-C ends this")
        campaign.round(1)
        news = reader.until("1 of 2 rounds done")
        # In place: the cursor goes up over the old frame; the screen as a whole is never cleared.
        assert "\x1b[1A" in news and "\x1b[2J" not in reader.text
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None and process.stderr.read() == b""
    os.close(ours)
    os.close(theirs)


def test_a_campaign_that_has_ended_is_shown_once(tmp_path: Path) -> None:
    campaign = Written(tmp_path / "c", rounds=1)
    campaign.round(1)
    with watching(campaign, subprocess.PIPE) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0 and err == b""
    first, last = io.StringIO(out.decode()).read().splitlines()
    assert first.startswith("round 1 (") and last == "written: finished, 1 of 1 rounds done"
