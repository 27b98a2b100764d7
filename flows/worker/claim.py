"""One worker per Prefect server: two would cancel and resume each other's runs.

A variable on the server names the worker. On the worker's machine, the lock of its folder shows
whether it is alive; from elsewhere, whether Prefect calls the deployment ready, which means that
somebody polled for runs in the last minute.
"""

import socket
from contextlib import suppress
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.client.schemas.objects import DeploymentStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.file_lock import holder

VARIABLE = "ratchet_worker"


def who_serves(client: SyncPrefectClient) -> dict[str, str] | None:
    """{"host", "folder"} of the worker that claims the server, alive or killed; None if none."""
    variable = client.read_variable_by_name(VARIABLE)
    return variable.value if variable is not None and isinstance(variable.value, dict) else None


class Claim:
    """The claim of the worker in `layout`, whose folder this process holds, to a server."""

    def __init__(self, client: SyncPrefectClient, layout: Layout, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._mine = {"host": socket.gethostname(), "folder": str(layout.root.resolve())}

    def take(self) -> None:
        """Claim the server. Raises BadInput while another worker has it."""
        other = who_serves(self._client)
        if other is not None and other != self._mine and self._is_alive(other):
            raise self._refusal(other)
        if other is None:
            with suppress(ObjectAlreadyExists):  # another was faster; `keep` raises
                self._client.create_variable(VariableCreate(name=VARIABLE, value=self._mine))
        else:
            self._client.update_variable(VariableUpdate(name=VARIABLE, value=self._mine))
        self.keep()

    def keep(self) -> None:
        """Raise BadInput if another worker has claimed the server."""
        other = who_serves(self._client)
        if other is not None and other != self._mine:
            raise self._refusal(other)

    def release(self) -> None:
        """Give the claim up, so that a worker elsewhere can start at once."""
        if who_serves(self._client) == self._mine:
            self._client.delete_variable_by_name(VARIABLE)

    def _is_alive(self, other: dict[str, str]) -> bool:
        if other["host"] == self._mine["host"]:
            return holder(Layout(Path(other["folder"])).lock) is not None
        try:
            deployment = self._client.read_deployment_by_name(self._deployment)
        except ObjectNotFound:
            return False
        return deployment.status == DeploymentStatus.READY

    def _refusal(self, other: dict[str, str]) -> BadInput:
        elsewhere = other["host"] != self._mine["host"]
        return BadInput(
            f"the Prefect server at {str(self._client.api_url).rstrip('/')} already has a worker, "
            f"in {other['folder']} on {other['host']}",
            "Submit campaigns to that one with `ratchet submit` or `ratchet schedule`, or unset "
            "PREFECT_API_URL so that this worker starts its own server."
            + (" If it was killed, try again in two minutes." if elsewhere else ""),
        )
