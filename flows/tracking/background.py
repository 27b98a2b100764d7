"""Send a campaign's numbers to its trackers in the background, without blocking the campaign."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.errors import ConfigError, RatchetError
from dpo_core.install_hint import install
from dpo_core.jobs import ChildJob, JobResult
from dpo_core.text import visible
from flows.config import read_stored

PATIENCE_S = 60.0
"""Seconds to wait for trackers on exit."""

_EXTRA = {"mlflow": "tracking", "wandb": "tracking", "trackio": "trackio"}


class SendResult(JobResult):
    """failed: tracker → reason."""

    failed: dict[str, str] = Field(default_factory=dict)


class SendJob(ChildJob[SendResult]):
    """Send the trackers of the campaign in a folder what they lack."""

    op: Literal["send"] = "send"
    campaign: Path
    trackers: Sequence[str]


class Tracking:
    """Sends a campaign's trackers what they lack, one process at a time.

    say: called with one line for each tracker that fails.
    """

    def __init__(self, layout: Layout, names: Sequence[str], say: Callable[[str], None]) -> None:
        self._layout, self._names, self._say = layout, list(names), say
        self._reported: set[str] = set()
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self._closed = False

    def send(self) -> None:
        """Start sending, unless a former call still is; then the next call sends the rest."""
        if self._names and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._send, daemon=True)
            self._thread.start()

    def wait(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until everything is sent, for at most `patience_s`, then close."""
        if self._thread is not None:
            self._thread.join(patience_s)
            if self._thread.is_alive():
                self._say("trackers time out; the next `ratchet run` sends the rest")
        self.close()

    def close(self) -> None:
        """End the sending process; what it has sent is recorded."""
        self._closed = True
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.process.pid, signal.SIGKILL)
        if self._thread is not None:
            self._thread.join()

    def _send(self) -> None:
        try:
            with Child.start("flows.tracking.sender", self._layout.log("tracking")) as child:
                self._child = child
                if self._closed:
                    return
                job = SendJob(campaign=self._layout.root, trackers=self._names)
                failed = child.carry_out(job).failed
        except (RatchetError, OSError) as error:
            failed = {name: str(error).splitlines()[0] for name in self._names}
        finally:
            self._child = None
        for name, why in failed.items():
            if not self._closed and name not in self._reported:
                self._reported.add(name)
                self._say(
                    f"tracker {name} failed: {visible(why)}; it is retried after the next round "
                    f"(log: {self._layout.log('tracking')})"
                )


def update_trackers(root: Path, say: Callable[[str], None]) -> None:
    """Send the campaign's trackers what they lack, including the report, and wait for them."""
    layout = Layout(root)
    tracking = Tracking(layout, read_stored(layout).track, say)
    tracking.send()
    tracking.wait()


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker whose client is missing."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f"track names {name}, whose client is not installed",
                f"Type {install(_EXTRA[name])}, or remove it from track.",
            )
