"""One worker for a Prefect server: two would end and resume each other's runs.

Which one it is stands on the server, as a variable. On its own machine the lock of its folder tells
whether it lives; from elsewhere, whether somebody has asked the server for runs in the last minute:
Prefect then calls the deployment ready.
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
    """{"host", "folder"} of the worker that serves the server, or that was killed while it did."""
    found = client.read_variable_by_name(VARIABLE)
    return found.value if found is not None and isinstance(found.value, dict) else None


class Claim:
    """That the worker in `layout`, whose folder this process holds, serves the server."""

    def __init__(self, client: SyncPrefectClient, layout: Layout, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._mine = {"host": socket.gethostname(), "folder": str(layout.root.resolve())}

    def take(self) -> None:
        """Raises BadInput while another worker serves the server."""
        other = self._holder()
        if other is not None and other != self._mine and self._lives(other):
            raise self._refusal(other)
        if other is None:
            with suppress(ObjectAlreadyExists):  # another was faster, as `keep` then says
                self._client.create_variable(VariableCreate(name=VARIABLE, value=self._mine))
        else:
            self._client.update_variable(VariableUpdate(name=VARIABLE, value=self._mine))
        self.keep()

    def keep(self) -> None:
        """Raises BadInput when another worker has come in place of this one."""
        other = self._holder()
        if other is not None and other != self._mine:
            raise self._refusal(other)

    def release(self) -> None:
        """For a worker elsewhere, which can then start at once."""
        if self._holder() == self._mine:
            self._client.delete_variable_by_name(VARIABLE)

    def _holder(self) -> dict[str, str] | None:
        return who_serves(self._client)

    def _lives(self, other: dict[str, str]) -> bool:
        if other["host"] == self._mine["host"]:
            return holder(Layout(Path(other["folder"])).lock) is not None
        try:
            found = self._client.read_deployment_by_name(self._deployment)
        except ObjectNotFound:
            return False
        return found.status == DeploymentStatus.READY

    def _refusal(self, other: dict[str, str]) -> BadInput:
        elsewhere = other["host"] != self._mine["host"]
        return BadInput(
            f"the Prefect server at {str(self._client.api_url).rstrip('/')} has a worker already: "
            f"the one in {other['folder']} on {other['host']}",
            "Hand campaigns over to that one with `ratchet submit` or `ratchet schedule`, or unset "
            "PREFECT_API_URL for a server of this worker's own."
            + (" If it was killed, try again in two minutes." if elsewhere else ""),
        )
