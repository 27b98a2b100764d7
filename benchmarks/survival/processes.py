"""The commands of a disturbed campaign: real processes, known by a mark in their environment."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.living import living

ROOT = Path(__file__).parents[2]
CHILDREN = "dpo_core.children"
"""The module under which whatever a campaign starts runs."""
_MARK = "RATCHET_SURVIVAL_TEST"
_MAY_LINGER_S = 10.0


class Commands:
    """Starts `ratchet …` and finds whatever lives of it.

    config: the same file for every campaign; folder: of this one's campaign and of what it said.
    """

    def __init__(self, config: Path, folder: Path, variables: Mapping[str, str]) -> None:
        self.config, self.folder = config, folder
        self.campaign = folder / "campaign"
        self._mark = f"{_MARK}={uuid.uuid4().hex}"
        name, value = self._mark.split("=")
        self._env = {**os.environ, **variables, "PYTHONPATH": str(ROOT), name: value}
        self._env.pop("PREFECT_API_URL", None)
        self._count = 0

    def start(self, *arguments: str) -> "Command":
        self._count += 1
        path = self.folder / f"{self._count:03d}-{arguments[0]}.log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *arguments],
                cwd=self.config.parent,
                env=self._env,
                stdout=log,
                stderr=log,
            )
        return Command(process, path)

    def run(self, *, prefect: bool) -> "Command":
        options = ("--wait", "--no-cache", *(() if prefect else ("--no-prefect",)))
        return self.start("run", *self.named(), *options)

    def named(self) -> tuple[str, ...]:
        return (str(self.config), "--campaign-dir", str(self.campaign))

    def alive(self) -> dict[int, str]:
        return living(self._mark)

    def kill_all(self) -> int:
        """SIGKILL to everything at once; how many were hit."""
        pids = self.alive()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def lingering(self) -> dict[int, str]:
        """What is still alive after a while."""
        deadline = time.monotonic() + _MAY_LINGER_S
        while (alive := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive


class Command:
    """One of them; `log`: what it printed."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self.log = process, log

    def ended(self) -> bool:
        return self.process.poll() is not None

    def code(self) -> int:
        return self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")
