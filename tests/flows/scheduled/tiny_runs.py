"""A campaign of seconds on a schedule, Prefect's API as its pages use it, and who is notified."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import yaml
from waiting_runs import CONFIG, JUDGE, TIMEOUT_S, Patient, until

from dpo_core.campaign.layout import Layout
from dpo_core.server_keys import read_key, worker_key_path
from examples.reviews.grammar import prompts

PER_ROUND = 12
SHARES = {"gate_share": 0.25, "test_share": 0.25}
TINY = {name: value for name, value in CONFIG.items() if name not in ("people", "budget")}
TINY |= {
    "name": "tiny",
    "judge": {"kind": "rule", "function": "patient_judge:score"},
    "prompts": {"path": "prompts", "per_round": PER_ROUND, "reuse": False, **SHARES},
    "retries": {"delay_s": 0.1},
    "notify": {"webhook": "TINY_HOOK"},
}


class Tiny(Patient):
    """The campaign, and the commands about it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, None)
        self.more = environment

    def create(self) -> "Tiny":
        (self.folder / "prompts").mkdir(parents=True)
        (self.folder / "patient_judge.py").write_text(JUDGE, encoding="utf-8")
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
        return self

    def add_prompts(self, name: str, first: int, count: int) -> None:
        """Write `count` prompts from the `first` on."""
        rows = [json.dumps(row) + "\n" for row in islice(prompts(), first, first + count)]
        (self.folder / "prompts" / name).write_text("".join(rows), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *arguments]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.more}

    def kill(self, module: str) -> None:
        """SIGKILL the process that runs `module`, as soon as there is one."""
        found: list[int] = []

        def there() -> bool:
            lines = self.processes().items()
            found[:] = [pid for pid, line in lines if line.endswith(module)]
            return bool(found)

        until(there, lambda: str(self.processes()))
        os.kill(found[0], signal.SIGKILL)


class Pages:
    """What somebody does in Prefect's pages, by the requests that these send.

    worker: the folder of the worker whose server it is.
    """

    def __init__(self, port: int, worker: Path | None = None) -> None:
        self._api = f"http://127.0.0.1:{port}/api"
        key = read_key(worker_key_path(Layout(worker))) if worker is not None else None
        self._headers = key.headers if key is not None else {}

    def run(self, name: str) -> dict[str, Any]:
        found = self._post("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return dict(found[0])

    def state(self, name: str) -> dict[str, Any]:
        return dict(self.run(name)["state"])

    def runs(self) -> dict[str, str]:
        """Name → name of the state, of all that have begun."""
        found = self._post("/flow_runs/filter", {"limit": 200})
        return {run["name"]: run["state_name"] for run in found if run["start_time"]}

    def pause(self, name: str) -> None:
        until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        details = {"pause_timeout": until, "pause_reschedule": True}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        self._set(name, state, force=True)

    def cancel(self, name: str) -> None:
        self._set(name, {"type": "CANCELLING", "name": "Cancelling"}, force=True)

    def retry(self, name: str) -> None:
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        self._set(name, state, force=False)

    def delete(self, name: str) -> None:
        path = f"{self._api}/flow_runs/{self.run(name)['id']}"
        httpx.delete(path, headers=self._headers, timeout=60).raise_for_status()

    def deployment(self) -> dict[str, Any]:
        return dict(self._get("/deployments/name/campaign/tiny"))

    def switch_off(self) -> None:
        """The deployment's schedule."""
        self._post(f"/deployments/{self.deployment()['id']}/pause_deployment", {})

    def start(self, **parameters: Any) -> int:
        """Run the deployment with these parameters: HTTP's status."""
        path = f"/deployments/{self.deployment()['id']}/create_flow_run"
        body = {"parameters": parameters}
        return self._send(path, body).status_code

    def task_states(self, task: str) -> list[str]:
        """Names of all states that runs of that task went through, in their order."""
        found = self._post("/task_runs/filter", {"task_runs": {"name": {"any_": [task]}}})
        states = []
        for run in found:
            history = self._get(f"/task_run_states/?task_run_id={run['id']}")
            states += [state["name"] for state in history]
        return states

    def _set(self, name: str, state: dict[str, Any], *, force: bool) -> None:
        path = f"/flow_runs/{self.run(name)['id']}/set_state"
        answer = self._post(path, {"state": state, "force": force})
        assert answer["status"] == "ACCEPT", answer

    def _get(self, path: str) -> Any:
        answer = httpx.get(self._api + path, headers=self._headers, timeout=60)
        return answer.raise_for_status().json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._send(path, body).raise_for_status()
        return answer.json() if answer.content else None

    def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return httpx.post(self._api + path, json=body, headers=self._headers, timeout=60)


@contextmanager
def prefect_server(folder: Path, port: int, database: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Somebody else's Prefect server, as `prefect server start` makes it."""
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--port", str(port)]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: _healthy(port), lambda: (folder / "server.log").read_text())
        yield server
    finally:
        with suppress(ProcessLookupError):  # the test may have ended it
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(TIMEOUT_S)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
