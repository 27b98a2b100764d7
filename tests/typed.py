"""`ratchet …` typed by a test and waited for, without importing everything each time.

Where tests run side by side, commands are forked from a process that has imported what they import
(dpo_core.preloaded): three quarters of a CPU-second each. So are many runs that a test watches or
kills; other commands that it does that to are started as usual.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from dpo_core import preloaded

COMMANDS = "RATCHET_TESTS_COMMANDS"
"""Environment variable: the socket of that process."""

TIMEOUT_S = 300

Done = subprocess.CompletedProcess[str]


class ForkedCommand:
    """A command that was forked, with what tests ask of `subprocess.Popen`."""

    def __init__(self, process: preloaded.Forked) -> None:
        self.pid = process.pid
        self.kill, self.send_signal, self.wait = process.kill, process.send_signal, process.wait
        self._process = process

    def poll(self) -> int | None:
        return None if self._process.alive() else self.wait()


Running = subprocess.Popen[bytes] | ForkedCommand


def ratchet(arguments: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> Done:
    """The command's exit code and what it wrote, once it has ended."""
    words = ["flows.cli", *arguments]
    return preloaded.run_command(os.environ.get(COMMANDS), words, env, folder, TIMEOUT_S)


def start(
    arguments: tuple[str, ...],
    folder: Path,
    env: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes] | None = None,
) -> Running:
    """The command, in a process group of its own; without `errors` both go to `output`. Other
    commands than `ratchet run` are started as usual."""
    module, errors = "flows.cli", errors or output
    socket = os.environ.get(COMMANDS)
    if socket and arguments[0] == "run":
        request = preloaded._Request(
            module=module, env={**env}, cwd=str(folder), passed=[], arguments=[*arguments]
        )
        process = preloaded._fork(socket, request, [output.fileno(), errors.fileno()])
        if process is not None:
            process.stdin.close()
            return ForkedCommand(process)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
    )
