"""Requests to Argilla's HTTP interface.

Each is tried again with growing waits when the server does not answer or says that it failed. A
request that did succeed unheard is harmless to repeat, or says that it is a repetition.
"""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from dpo_core.errors import LabelsError, LabelServerFailed
from labeling.server import Access

_SAID = 500
"""So many characters of an answer are worth showing."""

_UNAUTHORIZED, _TOO_MANY = 401, 429


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and the waits before it is tried again."""

    timeout_s: float = 60.0
    waits_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0)


PATIENT = Patience()
IMPATIENT = Patience(timeout_s=10.0, waits_s=())
"""For those who will look again soon."""


class RequestRefused(LabelServerFailed):
    """The server did not take what it was sent; trying again would not help."""

    def __init__(self, where: str, status: int, said: str) -> None:
        super().__init__(f"Argilla at {where} answered {said}")
        self.status = status


class ArgillaHttp:
    """A connection, to be closed; `public_url`: its address without credentials."""

    def __init__(self, access: Access, patience: Patience) -> None:
        self.public_url = public_url(access.url)
        self._patience = patience
        self._client = httpx.Client(
            base_url=f"{access.url}/api/v1/",
            headers={"X-Argilla-Api-Key": access.api_key},
            timeout=patience.timeout_s,
        )

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON that the server answers. Raises Refused where it answers that it will not."""
        for wait in (*self._patience.waits_s, None):
            try:
                answer = self._client.request(method, path, **options)
            except httpx.HTTPError as error:
                said = f"{type(error).__name__}: {error}"
            else:
                if answer.is_success:
                    return answer.json() if answer.content else None
                said = f"{answer.status_code}: {answer.text[:_SAID]}"
                if answer.status_code == _UNAUTHORIZED:
                    raise self._no_entry()
                if answer.status_code < 500 and answer.status_code != _TOO_MANY:
                    raise RequestRefused(self.public_url, answer.status_code, said)
            if wait is None:
                raise self._silent(said)
            time.sleep(wait)
        raise AssertionError("the last wait is None")

    def _no_entry(self) -> LabelsError:
        return LabelsError(
            f"Argilla at {self.public_url} refuses the API key",
            "It takes the key of an owner, or of an admin of the workspace: that of "
            "credentials.json beside the server, or ARGILLA_API_KEY.",
        )

    def _silent(self, said: str) -> LabelServerFailed:
        return LabelServerFailed(
            f"Argilla at {self.public_url} does not answer: {said}",
            "Start it with `ratchet label serve`, then type the same `ratchet run` again; "
            "no label is lost.",
        )


def public_url(url: str) -> str:
    """Without a user and a password, which an address may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
