"""The secret of a Prefect server that Ratchet starts, which its clients and pages prove to know.

It stands in a file for nobody's eyes but the owner's: in a worker's folder, or beside a campaign's
Prefect database. The next server there has the same one, so that browsers stay signed in; removing
the file signs everybody out.
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
"""Prefect's setting with headers for all requests of its client, also those of websockets."""

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Key:
    """A server's secret, and the address of the last one there that showed pages."""

    secret: str = field(repr=False)
    url: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {HEADER: self.secret}


def worker_key_path(layout: Layout) -> Path:
    return layout.root / "credentials.json"


def campaign_key_path(layout: Layout) -> Path:
    return layout.prefect / "credentials.json"


def read_key(path: Path) -> Key | None:
    """None where there is none yet. Raises BadInput for a file that is no such thing."""
    try:
        return Key(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise BadInput(
            f"{path} does not hold the secret of a server",
            "Remove it: the next start makes another, and browsers sign in again.",
        ) from None


def provide_key(path: Path, url: str | None = None) -> Key:
    """The key at `path`, made where there is none, with `url` as its address if one is given."""
    _remove_if_open(path)
    found = read_key(path)
    if found is None:
        # Linked, not renamed: of two servers that start at once, both have the first one's.
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        write_private(beside, _text(Key(secrets.token_urlsafe(32))))
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        finally:
            beside.unlink()
        found = read_key(path)
        assert found is not None, "it was written just now"
    if url is not None and url != found.url:
        found = Key(found.secret, url)
        write_private(path, _text(found))
    return found


def _remove_if_open(path: Path) -> None:
    """What others could read is no secret any more."""
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.unlink()


def _text(key: Key) -> str:
    return json.dumps(asdict(key), indent=1) + "\n"


def client_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment tells Prefect's client to send along. Raises BadInput for no JSON."""
    try:
        found = json.loads(environment.get(CLIENT_VARIABLE) or "{}")
        return {str(name): str(value) for name, value in dict(found).items()}
    except (ValueError, TypeError):
        raise BadInput(
            f"{CLIENT_VARIABLE} is not a JSON object", 'Write it as {"Name": "value"}, or unset it.'
        ) from None


def with_key(environment: Mapping[str, str], key: Key) -> dict[str, str]:
    """The environment in which Prefect's client knows the secret, beside what it sends already."""
    return {CLIENT_VARIABLE: json.dumps(client_headers(environment) | key.headers)}


def sign_in_help(command: str, path: Path) -> str:
    """What a server says to somebody who does not know its secret, the rest of a sentence."""
    return (
        f"open a link that `{command}` prints, or send what stands in {path} as the header {HEADER}"
    )


def sign_in_link(key: Key, to: str) -> str:
    """A link that signs a browser in once and leads to `to`. Raises BadInput where no server
    answers."""
    query = urllib.parse.urlencode({"to": to})
    request = urllib.request.Request(
        f"{key.url}{LINK_PATH}?{query}", method="POST", headers=key.headers
    )
    # No proxy of the environment is told the secret.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return key.url + str(answer.read().decode().strip())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no server of Ratchet answers at {key.url or 'any address'}: {error}",
            "Start it with `ratchet worker`, or `ratchet ui CAMPAIGN` for one campaign.",
        ) from None


REPORT_PATH = "/ratchet/report.html"
"""Relative to the server: the same address, whatever the port."""

_CAMPAIGNS = "campaigns"
_VARIABLE = "RATCHET_SERVED_REPORTS"


def serve_reports_in(folder: Path) -> None:
    """Say so to the runs that this process starts: the server at hand serves what `folder` links
    to."""
    os.environ[_VARIABLE] = str(folder.resolve())


def report_link(layout: Layout) -> str:
    """The way to the report, in Markdown; under a worker its server is told of the campaign."""
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
    """The file that the server of the folder `root` answers a request with: a report or metrics,
    and nothing else of a campaign."""
    *folders, name = path.strip("/").split("/")
    layout = Layout(root)
    if len(folders) >= 2 and folders[-2] == _CAMPAIGNS and folders[-1].isalnum():
        layout = Layout(root / _CAMPAIGNS / folders[-1])
    found = {p.name: p for p in (layout.report, layout.metrics)}.get(name)
    return found if found is not None and found.exists() else None
