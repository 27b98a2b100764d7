"""What the campaign speaks to: a judging endpoint, Argilla with somebody who labels, MLflow.

Each stands behind a proxy that harms what the test wishes harmed.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx

from labeling.people.task import CHOICES
from labeling.server import Access, Server, start
from tests.flows.tracking.mlflow_server import mlflow_server
from tests.labeling.judges.loopback import Loopback, shorter
from tests.labeling.people.annotators import Annotator
from tests.labeling.people.faulty_proxy import FaultyProxy, proxied

LATE_S = {"endpoint": 4.0, "argilla": 61.0, "tracker": 6.0}
"""When a request is answered that is answered too late: beyond each client's patience."""


_BEFORE_A_RUN = ("/version", "/me")
"""What is asked of Argilla before a run begins: harmed, nothing of the campaign would suffer."""


class Harm:
    """What the next requests to one service suffer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kind, self._left, self.hit = "", 0, 0

    def arm(self, kind: str, count: int) -> None:
        with self._lock:
            self._kind, self._left, self.hit = kind, count, 0

    def disarm(self) -> None:
        self.arm("", 0)

    def __call__(self, method: str, path: str) -> str | None:
        with self._lock:
            if self._left <= 0 or path.endswith(_BEFORE_A_RUN):
                return None
            self._left -= 1
            self.hit += 1
            return self._kind


class Labeller(threading.Thread):
    """Answers whatever is asked, by a hash of the record, whenever the server is there."""

    def __init__(self, access: Access) -> None:
        super().__init__(daemon=True)
        self._annotator = Annotator.new(access, "ann")
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.3):
            with suppress(httpx.HTTPError):  # it is down, or was just killed
                for dataset in self._annotator.call("GET", "me/datasets")["items"]:
                    self._answer(dataset["id"])

    def _answer(self, dataset: str) -> None:
        for record in self._annotator.queue(_Dataset(dataset)):  # type: ignore[arg-type]
            if self._ended.is_set():
                return
            number = int(sha256(record["external_id"].encode()).hexdigest(), 16)
            self._annotator.answer(record, CHOICES[number % len(CHOICES)])

    def end(self) -> None:
        self._ended.set()
        self.join()


class _Dataset:
    def __init__(self, identity: str) -> None:
        self.id = identity


class Argilla:
    """A server that may be killed, and is then started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._server: Server = start(folder)
        self.access = self._server.access

    def kill_and_start(self, away_s: float) -> None:
        self._server.kill()
        time.sleep(away_s)
        self._server = start(self._server.folder, self._server.port)

    def close(self) -> None:
        self._server.kill()


class Services:
    """All of them, with the environment in which a campaign finds them."""

    def __init__(
        self, argilla: Argilla, proxies: dict[str, FaultyProxy], harms: dict[str, Harm]
    ) -> None:
        self.argilla = argilla
        self.harms = harms
        self.variables = {
            "ARGILLA_API_URL": proxies["argilla"].url,
            "ARGILLA_API_KEY": argilla.access.api_key,
            "MLFLOW_TRACKING_URI": proxies["tracker"].url,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
            "GIT_PYTHON_REFRESH": "quiet",
        }


@dataclass(frozen=True)
class Shared:
    """What all campaigns speak to: the config names the endpoint, and it must be the same one."""

    endpoint: str
    harm: Harm
    mlflow: str


@contextmanager
def shared(folder: Path) -> Iterator[Shared]:
    """The endpoint behind its proxy, and a real MLflow server that keeps its data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    harm = Harm()
    with (
        Loopback(shorter) as loopback,
        proxied(loopback.url.removesuffix("/v1"), harm, LATE_S["endpoint"]) as proxy,
        mlflow_server(folder) as address,
    ):
        yield Shared(f"{proxy.url}/v1", harm, address)


@contextmanager
def services(folder: Path, with_all: Shared) -> Iterator[Services]:
    """An Argilla of this campaign's own, and proxies before it and before MLflow."""
    with ExitStack() as stack:
        argilla = Argilla(folder / "argilla")
        stack.callback(argilla.close)
        targets = {"argilla": argilla.access.url, "tracker": with_all.mlflow}
        harms = {name: Harm() for name in targets}
        proxies = {
            name: stack.enter_context(proxied(target, harms[name], LATE_S[name]))
            for name, target in targets.items()
        }
        labeller = Labeller(argilla.access)
        labeller.start()
        stack.callback(labeller.end)
        yield Services(argilla, proxies, {**harms, "endpoint": with_all.harm})
