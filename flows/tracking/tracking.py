"""Trackers, as a running campaign sees them: told in the background, never waited for."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from dpo_core.campaign.layout import Layout
from dpo_core.children import Child
from dpo_core.errors import ConfigError, RatchetError
from dpo_core.text import visible
from flows.config import read_stored

PATIENCE_S = 60.0
"""So long does the end of a campaign wait for trackers."""

_EXTRA = {"mlflow": "tracking", "wandb": "tracking", "trackio": "trackio"}


class Tracking:
    """Tells the trackers of a campaign what they lack, one process at a time.

    say: called with a line where a tracker cannot be told, once for each.
    """

    def __init__(self, layout: Layout, names: Sequence[str], say: Callable[[str], None]) -> None:
        self._layout, self._names, self._say = layout, list(names), say
        self._said: set[str] = set()
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self._closed = False

    def send(self) -> None:
        """Begin to tell them; while that goes on, what is new waits for the next call."""
        if self._names and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._send, daemon=True)
            self._thread.start()

    def wait(self, patience_s: float = PATIENCE_S) -> None:
        """Until they have been told; after `patience_s` the rest is left for the next run."""
        if self._thread is not None:
            self._thread.join(patience_s)
            if self._thread.is_alive():
                self._say("the trackers take too long: the rest is sent by the next `ratchet run`")
        self.close()

    def close(self) -> None:
        """End the process that tells; what it did is remembered."""
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
                request = {"root": str(self._layout.root), "trackers": self._names}
                failed: dict[str, str] = child.ask(request)["failed"]
        except (RatchetError, OSError) as error:
            failed = {name: str(error).splitlines()[0] for name in self._names}
        finally:
            self._child = None
        if not self._closed:
            self._tell(failed)

    def _tell(self, failed: dict[str, str]) -> None:
        for name, why in failed.items():
            if name not in self._said:
                self._said.add(name)
                self._say(
                    f"{name} was not told: {visible(why)}; it is tried again after the next round "
                    f"(log: {self._layout.log('tracking')})"
                )


def tell_trackers(root: Path, say: Callable[[str], None]) -> None:
    """Tell the trackers of the campaign's config what they lack, its report among it; waits."""
    layout = Layout(root)
    tracking = Tracking(layout, read_stored(layout).track, say)
    tracking.send()
    tracking.wait()


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError for a tracker whose client is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f"track names {name}, whose client is not installed",
                f"Type pip install 'ratchet-dpo[{_EXTRA[name]}]', or remove it from track.",
            )
