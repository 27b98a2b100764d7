"""Requests to Argilla's HTTP API.

A request is retried with increasing waits when the server does not answer or reports a failure.
Repeating a request whose response was lost is harmless, or the server reports a conflict.
"""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from dpo_core.errors import LabelsError, LabelServerFailed
from labeling.server import Access

_SHOWN = 500
"""Most characters of a response in an error message."""

_UNAUTHORIZED, _TOO_MANY = 401, 429


@dataclass(frozen=True)
class Patience:
    """Timeout of a request, and the waits before its retries."""

    timeout_s: float = 60.0
    waits_s: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0)


PATIENT = Patience()
IMPATIENT = Patience(timeout_s=10.0, waits_s=())
"""For callers that poll again soon."""


class RequestRefused(LabelServerFailed):
    """The server refused a request; retrying would not help."""

    def __init__(self, where: str, status: int, response: str) -> None:
        super().__init__(f"Argilla at {where} answered {response}")
        self.status = status


class ArgillaHttp:
    """A connection that must be closed; `public_url`: its address without credentials."""

    def __init__(self, access: Access, patience: Patience) -> None:
        self.public_url = public_url(access.url)
        self._root = access.url
        self._patience = patience
        self._client = httpx.Client(
            base_url=f"{access.url}/api/v1/",
            headers={"X-Argilla-Api-Key": access.api_key},
            timeout=patience.timeout_s,
        )

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the server's response.

        Raises RequestRefused when the server refuses the request, LabelsError for the API key, and
        LabelServerFailed when there is no response after all retries.
        """
        for wait in (*self._patience.waits_s, None):
            try:
                response = self._client.request(method, path, **options)
            except httpx.HTTPError as error:
                failure = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    return response.json() if response.content else None
                failure = f"{response.status_code}: {response.text[:_SHOWN]}"
                if response.status_code == _UNAUTHORIZED:
                    raise self._bad_key()
                if response.status_code < 500 and response.status_code != _TOO_MANY:
                    raise RequestRefused(self.public_url, response.status_code, failure)
            if wait is None:
                raise self._no_response(failure)
            time.sleep(wait)
        raise AssertionError("the last wait is None")

    def put_on_server(self, path: str, content: object) -> None:
        """PUT to an address of the server that is not of Argilla's API."""
        self.call("PUT", f"{self._root}{path}", json=content)

    def has_script(self, path: str) -> bool:
        """Whether the server has that script, of those that an embedded one adds to Argilla."""
        try:
            response = self._client.get(f"{self._root}{path}")
        except httpx.HTTPError:
            return False
        return response.is_success and "javascript" in response.headers.get("content-type", "")

    def _bad_key(self) -> LabelsError:
        return LabelsError(
            f"Argilla at {self.public_url} refuses the API key",
            "Use the key of an owner or of an admin of the workspace: from credentials.json in the "
            "server's folder, or ARGILLA_API_KEY.",
        )

    def _no_response(self, failure: str) -> LabelServerFailed:
        return LabelServerFailed(
            f"Argilla at {self.public_url} does not answer: {failure}",
            "Start it with `ratchet label serve`, then run the same `ratchet run` again; "
            "no label is lost.",
        )


def public_url(url: str) -> str:
    """`url` without user and password.

    Example:
        >>> public_url("http://ann:secret@host:6900/")
        'http://host:6900'
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
