"""`ratchet …` typed by a test and waited for, without importing everything each time.

Where tests run side by side, commands are forked from a process that has imported what they import
(dpo_core.preloaded): three quarters of a CPU-second each. Commands that a test kills, interrupts or
looks at while they run are started as usual.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dpo_core import preloaded

COMMANDS = "RATCHET_TESTS_COMMANDS"
"""Environment variable: the socket of that process."""

TIMEOUT_S = 300

Done = subprocess.CompletedProcess[str]


def ratchet(arguments: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> Done:
    """The command's exit code and what it wrote, once it has ended."""
    words = ["flows.cli", *arguments]
    return preloaded.run_command(os.environ.get(COMMANDS), words, env, folder, TIMEOUT_S)
