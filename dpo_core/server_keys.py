"""The secret of a Prefect server that Ratchet starts, required of its clients and browsers.

It is stored in a file that only the owner can read: in a worker's folder, or beside a campaign's
Prefect database. The next server there reuses it, so that browsers stay signed in. Removing the
file signs everybody out.
"""

import json
import os
import secrets
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpo_core.atomic import write_private
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.hashing import content_id
from dpo_core.web_guard import HEADER, LINK_PATH

CLIENT_VARIABLE = "PREFECT_CLIENT_CUSTOM_HEADERS"
"""Prefect's setting for headers of all its client's requests, websockets included."""

RUNS_PATH = "/runs"
"""Prefect's page of all runs."""

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Key:
    """A server's secret, the address at which its pages were last served, and the first of them."""

    secret: str = field(repr=False)
    url: str = ""
    first: str = RUNS_PATH

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: self.secret}


def worker_key_path(layout: Layout) -> Path:
    return layout.root / "credentials.json"


def campaign_key_path(layout: Layout) -> Path:
    return layout.prefect / "credentials.json"


def read_key(path: Path) -> Key | None:
    """The key at `path`; None if there is none yet. Raises BadInput for a malformed file."""
    try:
        return Key(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise BadInput(
            f"{path} does not hold a server's secret",
            "Remove it: the next start creates another, and browsers must sign in again.",
        ) from None


def provide_key(path: Path, url: str | None = None, first: str = RUNS_PATH) -> Key:
    """The key at `path`, created if missing; `url`, if given, becomes its address, and `first` the
    page that links lead to."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.unlink()  # what others could read is not secret any more
    key = read_key(path)
    if key is None:
        # Linked, not renamed, so that two servers starting at once share the first one's key.
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        write_private(beside, _text(Key(secrets.token_urlsafe(32))))
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
        key = read_key(path)
        assert key is not None, "it was written just now"
    if url is not None and (url, first) != (key.url, key.first):
        key = Key(key.secret, url, first)
        write_private(path, _text(key))
    return key


def _text(key: Key) -> str:
    return json.dumps(asdict(key), indent=1) + "\n"


def client_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment's headers for Prefect's client. Raises BadInput if they are not JSON."""
    try:
        headers = json.loads(environment.get(CLIENT_VARIABLE) or "{}")
        return {str(name): str(value) for name, value in dict(headers).items()}
    except (ValueError, TypeError):
        raise BadInput(
            f"{CLIENT_VARIABLE} is not a JSON object", 'Write it as {"Name": "value"}, or unset it.'
        ) from None


def with_key(environment: Mapping[str, str], key: Key) -> dict[str, str]:
    """The variable that adds the secret to the headers of Prefect's client."""
    return {CLIENT_VARIABLE: json.dumps(client_headers(environment) | key.headers)}


def sign_in_help(command: str, path: Path) -> str:
    """How to sign in to a server, as the rest of a sentence."""
    return f"open a link that `{command}` prints, or send the secret in {path} as header {HEADER}"


def sign_in_link(key: Key, to: str | None = None) -> str:
    """A link that signs a browser in once, to the page `to` or the first one. Raises BadInput
    without a server."""
    query = urllib.parse.urlencode({"to": to or key.first})
    request = urllib.request.Request(
        f"{key.url}{LINK_PATH}?{query}", method="POST", headers=key.headers
    )
    # Keep the secret from proxies of the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return key.url + str(answer.read().decode().strip())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no Ratchet server answers at {key.url or 'any address'}: {error}",
            "Start it with `ratchet up`, `ratchet worker` or `ratchet ui`.",
        ) from None


REPORT_PATH = "/ratchet/report.html"
"""Relative to the server's address, so that it is valid on any port."""

_CAMPAIGNS = "campaigns"
_VARIABLE = "RATCHET_SERVED_REPORTS"


def serve_reports_in(folder: Path) -> None:
    """Let runs started by this process know that its server serves the campaigns in `folder`."""
    os.environ[_VARIABLE] = str(folder.resolve())


def report_link(layout: Layout) -> str:
    """A Markdown link to the report. Under a worker, registers the campaign with its server."""
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        return f"[Open the report]({REPORT_PATH}) (served by `ratchet ui`)"
    root = layout.root.resolve()
    id = content_id("campaign", str(root))
    link = Path(folder) / _CAMPAIGNS / id
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(root)
    return f"[Open the report](/ratchet/{_CAMPAIGNS}/{id}/report.html)"


def find_served_file(root: Path, path: str) -> Path | None:
    """The report or metrics file at a request's path, for the server of the folder `root`.

    None for any other file of a campaign.
    """
    *folders, name = path.strip("/").split("/")
    layout = Layout(root)
    if len(folders) >= 2 and folders[-2] == _CAMPAIGNS and folders[-1].isalnum():
        layout = Layout(root / _CAMPAIGNS / folders[-1])
    file = {p.name: p for p in (layout.report, layout.metrics)}.get(name)
    return file if file is not None and file.exists() else None
