"""What the runs of a worker may name: what somebody at its command line has handed over.

Whoever reaches a Prefect server can make a run with any parameters. So `ratchet submit` and
`ratchet schedule` write down, for nobody's eyes but the owner's, in which folder a campaign runs by
which config, where the user functions of that config lie, and which endpoint and notification
reads which environment variable. A run that names anything else is refused before a line of user
code is imported.
"""

import json
import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient

from dpo_core.atomic import write_private
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput, ConfigError
from dpo_core.file_lock import Holder, hold
from dpo_core.import_path import module_file
from flows.config import CampaignConfig
from flows.config.paths import endpoints_of, functions_of
from flows.worker.claim import who_serves
from flows.worker.place import external_server
from flows.worker.runs import Order

_PATIENCE_S = 10.0

Way = Literal["submit", "schedule"]
"""By which command a campaign was handed over; each keeps its own entry."""


class NotRegistered(BadInput):
    """A run names what nobody has handed over to the worker."""


@dataclass(frozen=True)
class Submission:
    """What was handed over.

    functions: import path → file of its module. endpoints: (URL, variable with its key).
    variables: those with addresses of notifications.
    """

    way: Way
    root: str
    folder: str
    config: str
    functions: Mapping[str, str]
    endpoints: Sequence[tuple[str, str | None]]
    variables: Sequence[str]

    @classmethod
    def of(cls, way: Way, order: Order, config: CampaignConfig) -> "Submission":
        """For a config that was loaded in the order's folder, which is the current one."""
        return cls(
            way=way,
            root=str(order.root(config.name)),
            folder=str(order.folder.resolve()),
            config=_config_path(order),
            functions={path: module_file(path) for path in sorted(functions_of(config))},
            endpoints=sorted(endpoints_of(config), key=str),
            variables=sorted(_notified(config)),
        )


@dataclass(frozen=True)
class Registry:
    """The entries of the worker in `layout`. opened: variables that `--allow-env` names."""

    layout: Layout
    opened: Sequence[str] = ()

    def add(self, entry: Submission) -> None:
        """Beside what was handed over before: runs may be under way, or suspended, that name it."""
        new = json.loads(json.dumps(asdict(entry)))
        self._change(lambda old: [*(entry for entry in old if entry != new), new])

    def remove(self, way: Way, root: Path) -> None:
        """All that the command handed over of the campaign in that folder."""
        gone = (way, str(root))
        self._change(lambda old: [one for one in old if (one["way"], one["root"]) != gone])

    def knows(self, root: Path) -> bool:
        """Whether the campaign in that folder was handed over."""
        return any(entry.root == str(root) for entry in self._entries())

    def admit(self, order: Order) -> None:
        """Raise NotRegistered for a run with parameters that nobody has handed over.

        Changes into the order's folder, where the campaign runs, once that is known to be one.
        Raises ConfigError for a config that cannot be; functions that are not there are left to the
        run, which says so.
        """
        here = [
            entry
            for entry in self._entries()
            if (entry.folder, entry.config) == (str(order.folder), _config_path(order))
        ]
        if not here:
            raise self.refusal(f"the config {_config_path(order)} in {order.folder}")
        os.chdir(order.folder)
        config = order.load()
        root = order.root(config.name)
        mine = [entry for entry in here if entry.root == str(root)]
        if not mine:
            raise self.refusal(f"the campaign folder {root}")
        refusals = [self._beyond(entry, config) for entry in mine]
        if all(refusals):
            raise self.refusal(refusals[0] or "")

    def _beyond(self, entry: Submission, config: CampaignConfig) -> str | None:
        """What the config names that the entry does not, if anything."""
        for path in sorted(functions_of(config)):
            # The name first: to find a module, the packages above it are imported.
            if path not in entry.functions:
                return f"the function {path}"
            found, place = _place_of(path), entry.functions[path]
            if found not in (None, place):
                return f"the function {path} in {found} (it lay in {place})"
        known = {tuple(pair) for pair in entry.endpoints}
        for url, variable in sorted(endpoints_of(config), key=str):
            if (url, variable) not in known and variable not in self.opened:
                key = f" with the environment variable {variable}" if variable else ""
                return f"the endpoint {url}{key}"
        for variable in sorted(_notified(config)):
            if variable not in {*entry.variables, *self.opened}:
                return f"the environment variable {variable}"
        return None

    def refusal(self, named: str) -> NotRegistered:
        """What a run hears that names something else."""
        return NotRegistered(
            f"the run names {named}, which was not handed over to the worker in "
            f"{self.layout.root.resolve()}",
            "If it is yours, type its `ratchet submit` or `ratchet schedule` again in the folder "
            "that it runs in. Environment variables may also be opened to all runs: "
            "ratchet worker --allow-env NAME. A function that is found in the worker's own folder "
            "instead: start the worker elsewhere.",
        )

    @property
    def _path(self) -> Path:
        return self.layout.root / "registry.json"

    def _entries(self) -> list[Submission]:
        return [Submission(**entry) for entry in self._read()]

    def _read(self) -> list[dict[str, Any]]:
        try:
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise BadInput(
                    f"{self._path} can be read or written by others",
                    f"Look whether somebody did, then type: chmod 600 {self._path}",
                )
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return [asdict(Submission(**entry)) for entry in found]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise BadInput(
                f"{self._path} does not hold what was handed over",
                "Remove it, then type `ratchet submit` or `ratchet schedule` again for each "
                "campaign.",
            ) from None

    def _change(
        self, changed: Callable[[list[dict[str, Any]]], Sequence[Mapping[str, Any]]]
    ) -> None:
        def refusal(other: Holder) -> BadInput:
            return BadInput(
                f"process {other['pid']} on {other['host']} is changing {self._path}",
                "Wait for it, then type the same command again.",
            )

        lock = self._path.with_suffix(".lock")
        try:
            with hold(lock, refusal, patience_s=_PATIENCE_S):
                text = json.dumps(changed(self._read()), indent=1)
                write_private(self._path, text + "\n")
        except OSError as error:
            raise BadInput(
                f"{self._path}, where the worker looks what was handed over, cannot be written: "
                f"{error.strerror}",
                "Hand campaigns over as the user who runs the worker.",
            ) from None


def registry_of(client: SyncPrefectClient, folder: Path) -> Registry:
    """That of the worker of the client's server: of the one that serves it now, or else of the one
    that `folder` is for. Raises BadInput where that worker is out of reach."""
    other = who_serves(client)
    if external_server() is None or other is None:
        return Registry(Layout(folder))
    layout = Layout(Path(other["folder"]))
    if other["host"] != socket.gethostname() and not layout.lock.exists():
        raise BadInput(
            f"the worker of this Prefect server runs on {other['host']} in {other['folder']}, "
            "where it looks what was handed over",
            f"Type the same command on {other['host']}.",
        )
    return Registry(layout)


def _config_path(order: Order) -> str:
    return str((order.folder / order.config).resolve())


def _place_of(path: str) -> str | None:
    try:
        return module_file(path)
    except ConfigError:
        return None


def _notified(config: CampaignConfig) -> frozenset[str]:
    """Environment variables with addresses that notifications go to."""
    notify = config.notify
    return frozenset(name for name in (notify.webhook, notify.slack) if name is not None)
