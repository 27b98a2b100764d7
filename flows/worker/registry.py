"""The worker's registry: what its runs may name, because it was submitted at the command line.

Anybody who reaches a Prefect server can create a run with any parameters. So `ratchet submit` and
`ratchet schedule` record, in a file only the owner can read: the campaign's folder and config, the
files of its user functions, and the environment variables of its endpoints and notifications. A run
that names anything else is refused before any user code is imported.
"""

import json
import os
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect.client.orchestration import SyncPrefectClient

from dpo_core.atomic import write_private
from dpo_core.campaign.layout import Layout
from dpo_core.config import Section
from dpo_core.errors import BadInput, ConfigError
from dpo_core.file_lock import Holder, hold
from dpo_core.import_path import module_file
from flows.config import CampaignConfig
from flows.config.paths import list_endpoints, list_functions
from flows.worker.claim import who_serves
from flows.worker.folder import external_server
from flows.worker.runs import Order

_PATIENCE_S = 10.0

Way = Literal["submit", "schedule"]
"""The command that submitted a campaign; each keeps its own entry."""


class NotRegistered(BadInput):
    """A run names something that was not submitted to the worker."""


class Submission(Section):
    """A submitted campaign.

    functions: import path → file of its module. endpoints: (URL, variable with its key).
    variables: those with addresses for notifications.
    """

    way: Way
    root: str
    folder: str
    config: str
    functions: dict[str, str]
    endpoints: tuple[tuple[str, str | None], ...]
    variables: tuple[str, ...]

    @classmethod
    def of(cls, way: Way, order: Order, config: CampaignConfig) -> "Submission":
        """The submission of a config that was loaded in the order's folder, the current one."""
        return cls(
            way=way,
            root=str(order.root(config.name)),
            folder=str(order.folder.resolve()),
            config=_config_path(order),
            functions={path: module_file(path) for path in sorted(list_functions(config))},
            endpoints=tuple(sorted(list_endpoints(config), key=str)),
            variables=tuple(sorted(_notified(config))),
        )


@dataclass(frozen=True)
class Registry:
    """The submissions of the worker in `layout`. opened: variables from `--allow-env`."""

    layout: Layout
    opened: Sequence[str] = ()

    def add(self, entry: Submission) -> None:
        """Add an entry, and keep older ones: running or suspended runs may need them."""
        self._change(lambda old: [*(each for each in old if each != entry), entry])

    def remove(self, way: Way, root: Path) -> None:
        """Remove everything that the command submitted for the campaign in `root`."""
        key = (way, str(root))
        self._change(lambda old: [entry for entry in old if (entry.way, entry.root) != key])

    def knows(self, root: Path) -> bool:
        """Whether the campaign in `root` was submitted."""
        return any(entry.root == str(root) for entry in self._read())

    def admit(self, order: Order) -> None:
        """Raise NotRegistered for a run whose parameters were not submitted.

        Changes into the order's folder, where the campaign runs, once it is known to be submitted.
        Raises ConfigError for an invalid config. Missing functions are left to the run to report.
        """
        entries = [
            entry
            for entry in self._read()
            if (entry.folder, entry.config) == (str(order.folder), _config_path(order))
        ]
        if not entries:
            raise self.refusal(f"the config {_config_path(order)} in {order.folder}")
        os.chdir(order.folder)
        config = order.load()
        root = order.root(config.name)
        entries = [entry for entry in entries if entry.root == str(root)]
        if not entries:
            raise self.refusal(f"the campaign folder {root}")
        refusals = [self._unregistered(entry, config) for entry in entries]
        if all(refusals):
            raise self.refusal(refusals[0] or "")

    def _unregistered(self, entry: Submission, config: CampaignConfig) -> str | None:
        """What the config names beyond the entry, if anything."""
        for path in sorted(list_functions(config)):
            # First the name: finding a module imports the packages above it.
            if path not in entry.functions:
                return f"the function {path}"
            file, submitted = _find_module(path), entry.functions[path]
            if file not in (None, submitted):
                return f"the function {path} in {file} (submitted from {submitted})"
        for url, variable in sorted(list_endpoints(config), key=str):
            if (url, variable) not in entry.endpoints and variable not in self.opened:
                key = f" with the environment variable {variable}" if variable else ""
                return f"the endpoint {url}{key}"
        for variable in sorted(_notified(config)):
            if variable not in {*entry.variables, *self.opened}:
                return f"the environment variable {variable}"
        return None

    def refusal(self, named: str) -> NotRegistered:
        """The error for a run that names something unregistered."""
        return NotRegistered(
            f"the run names {named}, which was not submitted to the worker in "
            f"{self.layout.root.resolve()}",
            "If it is yours, type its `ratchet submit` or `ratchet schedule` again in the folder "
            "it runs in. To open an environment variable to all runs: ratchet worker --allow-env "
            "NAME. If the worker's own folder shadows the function, start the worker elsewhere.",
        )

    @property
    def _path(self) -> Path:
        return self.layout.registry

    def _read(self) -> list[Submission]:
        try:
            if stat.S_IMODE(self._path.stat().st_mode) & 0o077:
                raise BadInput(
                    f"{self._path} can be read or written by other users",
                    f"Check that nobody changed it, then type: chmod 600 {self._path}",
                )
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            return [Submission.model_validate(entry) for entry in entries]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise BadInput(
                f"{self._path} is not a registry of submissions",
                "Remove it, then type `ratchet submit` or `ratchet schedule` again for each "
                "campaign.",
            ) from None

    def _change(self, changed: Callable[[list[Submission]], list[Submission]]) -> None:
        def refusal(other: Holder) -> BadInput:
            return BadInput(
                f"process {other['pid']} on {other['host']} is changing {self._path}",
                "Wait for it, then type the same command again.",
            )

        lock = self._path.with_suffix(".lock")
        try:
            with hold(lock, refusal, patience_s=_PATIENCE_S):
                entries = [entry.model_dump(mode="json") for entry in changed(self._read())]
                write_private(self._path, json.dumps(entries, indent=1) + "\n")
        except OSError as error:
            raise BadInput(
                f"the worker's registry {self._path} cannot be written: {error.strerror}",
                "Submit campaigns as the user who runs the worker.",
            ) from None


def registry_of(client: SyncPrefectClient, folder: Path) -> Registry:
    """The registry of the worker that serves the client's server, or else of the one in `folder`.

    Raises BadInput if that worker's folder is out of reach.
    """
    other = who_serves(client)
    if external_server() is None or other is None:
        return Registry(Layout(folder))
    layout = Layout(Path(other["folder"]))
    if other["host"] != socket.gethostname() and not layout.lock.exists():
        raise BadInput(
            f"the registry of this Prefect server's worker is out of reach: it is on "
            f"{other['host']} in {other['folder']}",
            f"Type the same command on {other['host']}.",
        )
    return Registry(layout)


def _config_path(order: Order) -> str:
    return str((order.folder / order.config).resolve())


def _find_module(path: str) -> str | None:
    try:
        return module_file(path)
    except ConfigError:
        return None


def _notified(config: CampaignConfig) -> frozenset[str]:
    """Environment variables with addresses for notifications."""
    notify = config.notify
    return frozenset(name for name in (notify.webhook, notify.slack) if name is not None)
