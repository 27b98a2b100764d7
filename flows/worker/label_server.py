"""The label server that `ratchet up` starts when a campaign first needs it."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from dpo_core.campaign.layout import Layout, find_campaigns
from dpo_core.campaign.waiting import read_waiting
from dpo_core.errors import BadInput, RatchetError
from dpo_core.file_lock import holder
from flows.config import CampaignConfig, load_config, read_stored
from flows.worker.runs import Order
from labeling.judges.config import asks_people
from labeling.server import Server, start
from labeling.server.credentials import URL_VARIABLE, read_credentials

_PORT = 6900


@dataclass
class LabelServers:
    """One server per folder; a context manager that stops those that it started."""

    say: Callable[[str], None] = print
    _started: dict[Path, Server] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def provide_for(self, order: Order) -> None:
        """Start the server that a run's people label on, unless it runs or is elsewhere.

        Raises RatchetError if it does not start. Leaves a faulty config to the run to report.
        """
        try:
            config = load_config(order.folder / order.config, order.overrides)
        except RatchetError:
            return
        self.provide(config, order.folder)

    def provide(self, config: CampaignConfig, folder: Path) -> None:
        """The same, for a config that runs in `folder`."""
        if not asks_people(config.judge) or os.environ.get(URL_VARIABLE):
            return
        place = (folder / config.people_config.server_folder).resolve()
        with self._lock:
            server = self._started.get(place)
            if (server is not None and server.alive()) or holder(place / "lock") is not None:
                return
            if server is not None:
                server.kill()
            self.say(f"starting the label server in {place}")
            self._started[place] = server = _start(place)
            self.say(f"label server: {server.credentials.url} (sign in: {_who(server)})")

    def provide_waiting(self, places: Iterable[Path]) -> None:
        """The same, for campaigns in `places` that people label for now; says what fails, so that
        one faulty campaign does not keep all others from being shown."""
        for root in find_campaigns(places):
            waiting = read_waiting(Layout(root))
            if waiting is not None and waiting.question is None:
                try:
                    self.provide(read_stored(Layout(root)), Path.cwd())
                except RatchetError as error:
                    self.say(error.shown())

    def __enter__(self) -> "LabelServers":
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._started.values():
            server.stop()


def _start(place: Path) -> Server:
    """On the address that links to it know; else on the usual port, or a free one."""
    known = read_credentials(place)
    port = int(known.url.rpartition(":")[2]) if known is not None and known.url else _PORT
    try:
        return start(place, port)
    except BadInput:  # the port is taken
        return start(place)


def _who(server: Server) -> str:
    return f"{server.credentials.username}, password in {server.folder / 'credentials.json'}"
