"""`ratchet …` typed by a test and waited for, without importing everything each time.

Where tests run side by side, commands are forked from a process that has imported what they import
(dpo_core.preloaded): three quarters of a CPU-second each. Commands that a test kills, interrupts or
looks at while they run are started as usual.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from dpo_core import preloaded

COMMANDS = "RATCHET_TESTS_COMMANDS"
"""Environment variable: the socket of that process."""

TIMEOUT_S = 300

Done = subprocess.CompletedProcess[str]


def ratchet(arguments: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> Done:
    """The command's exit code and what it wrote, once it has ended."""
    words = ["flows.cli", *arguments]
    with TemporaryFile() as output, TemporaryFile() as errors:
        path = os.environ.get(COMMANDS)
        process = path and preloaded.fork_command(path, words, env, folder, output, errors)
        if not process:
            command = [sys.executable, "-m", *words]
            options = {"capture_output": True, "text": True, "timeout": TIMEOUT_S}
            return subprocess.run(command, cwd=folder, env=env, **options)
        process.stdin.close()
        try:
            code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
        output.seek(0)
        errors.seek(0)
        return Done(words, code, output.read().decode(), errors.read().decode())
