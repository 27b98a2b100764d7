"""A real Prefect server of Ratchet's own: who may ask it, by HTTP, by websocket, in a browser."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from dpo_core.server_keys import provide_key, read_key, sign_in_link, with_key, worker_key_path
from dpo_core.web_guard import HEADER
from flows.commands.options import check_hosts
from flows.doctor.servers import check_prefect
from flows.operations.serve import new_link
from flows.prefect.server import Pages, prefect_environment, start_server
from tests.until import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_FILTER = "/api/events/filter"
WAIT_MS = 60_000
PROXY = "ratchet.example.com"
EVENTS = """
import asyncio
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client

async def send():
    async with get_events_client(checkpoint_every=1) as client:
        resource = Resource({"prefect.resource.id": "ratchet.test"})
        await client.emit(Event(event="ratchet.tested", resource=resource))

asyncio.run(send())
"""


STEER = """
import sys
from pathlib import Path
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Running
from dpo_core.campaign.layout import Layout
from dpo_core.errors import BadInput
from flows.prefect.runs import campaign_tag, client_of
from flows.worker.flow import campaign
from flows.worker.steer import steer_run

api, root = sys.argv[1], Path(sys.argv[2])

deployment = RunnerDeployment.from_flow(campaign, name="steered").apply()
with client_of(api) as client:
    tags = [campaign_tag(Layout(root.resolve()))]
    run = client.create_flow_run_from_deployment(
        deployment, name="mine", tags=tags, parameters={"config": "c.yaml"}
    )
    def state() -> str:
        found = client.read_flow_run(run.id).state
        return f"{found.type.value} {found.name}"
    print(steer_run(api, root, "resume"))
    client.set_flow_run_state(run.id, Running(), force=True)
    for wish in ("pause", "pause", "resume", "cancel"):
        try:
            print(wish, steer_run(api, root, wish), state(), sep="; ")
        except BadInput as error:
            print(wish, error.message, sep="; ")
"""


class Served(NamedTuple):
    layout: Layout
    url: str
    key: dict[str, str]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A worker's server, with pages and a report, behind a proxy's name."""
    layout = Layout(tmp_path_factory.mktemp("worker"))
    layout.report.write_text("<!doctype html><h1>Of this campaign</h1>", encoding="utf-8")
    pages = Pages((PROXY,), "type `ratchet link`")
    server, url, key = start_server(layout, worker_key_path(layout), pages=pages)
    with server:
        yield Served(layout, url, key.headers)


def ask(served: Served, path: str = "/api/flow_runs/filter", **headers: str) -> httpx.Response:
    """What a page would ask: all runs, with `headers` whose `_` are dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(served.url + path, json={}, headers=named, timeout=60)


def test_what_it_refuses(served: Served) -> None:
    assert ask(served, **served.key).json() == []
    without = ask(served)
    assert without.status_code == 403
    assert without.text == "The secret of this server is missing: type `ratchet link`.\n"
    # A page elsewhere, with the secret even: as a browser that is signed in would send it.
    foreign = ask(served, Origin="http://attacker.example", **served.key)
    assert foreign.status_code == 403
    assert foreign.text.startswith("Pages of attacker.example may not use this server: start it ")
    assert "--allow-host" in foreign.text and foreign.text.count("\n") == 1
    # Its name pointed to 127.0.0.1 by now, so that its origin is the server's own.
    name = "attacker.example:" + served.url.rpartition(":")[2]
    rebound = ask(served, Host=name, Origin=f"http://{name}", **served.key)
    assert rebound.status_code == 421
    assert rebound.text.startswith("This server is not known as attacker.example: ")
    assert ask(served, Host="attacker.example").status_code == 421
    for path in ("/ratchet/report.html", "/runs", "/api/health", "/ratchet/../api/health", "//api"):
        assert httpx.get(served.url + path, timeout=60).status_code == 403, path
    assert httpx.options(served.url + "/api/flow_runs/filter", timeout=60).status_code == 403


def test_what_it_lets_through(served: Served) -> None:
    own = ask(served, Origin=served.url, **served.key)
    assert (own.status_code, own.headers.get("access-control-allow-origin")) == (200, served.url)
    proxied = ask(served, Host=PROXY, Origin=f"https://{PROXY}", **served.key)
    assert proxied.status_code == 200
    assert proxied.headers.get("access-control-allow-origin") is None


def test_websockets(served: Served) -> None:
    url = f"{served.url.replace('http', 'ws', 1)}/api/events/in"
    refused = (
        {"origin": "http://attacker.example", "additional_headers": served.key},
        {"additional_headers": {}},
    )
    for options in refused:
        with pytest.raises(InvalidStatus) as error, connect(url, **options, proxy=None):  # type: ignore[arg-type]
            pass
        assert error.value.response.status_code == 403
        assert error.value.response.body
        assert "server" in error.value.response.body.decode()
    with connect(url, additional_headers=served.key, proxy=None) as socket:
        socket.ping().wait(10)


def test_prefects_own_client_sends_the_secret(served: Served) -> None:
    """By HTTP and by websocket, which takes no secret in its first message."""
    key = read_key(worker_key_path(served.layout))
    assert key is not None and key.secret not in repr(key)
    environment = {
        **os.environ,
        **prefect_environment(served.layout),
        **with_key({"PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Mine": "kept"}'}, key),
        "PREFECT_API_URL": f"{served.url}/api",
    }
    assert json.loads(environment["PREFECT_CLIENT_CUSTOM_HEADERS"])["X-Mine"] == "kept"
    subprocess.run([sys.executable, "-c", EVENTS], env=environment, check=True, timeout=120)
    until(lambda: _knows_the_event(served), lambda: ask(served, _FILTER, **served.key).text)


def _knows_the_event(served: Served) -> bool:
    found = ask(served, _FILTER, **served.key).json()["events"]
    return any(event["event"] == "ratchet.tested" for event in found)


def test_runs_are_paused_resumed_and_cancelled_by_their_campaign(
    served: Served, tmp_path: Path
) -> None:
    key = read_key(worker_key_path(served.layout))
    assert key is not None
    api = f"{served.url}/api"
    environment = {
        **os.environ,
        **prefect_environment(served.layout),
        **with_key({}, key),
        "PREFECT_API_URL": api,
    }
    command = [sys.executable, "-c", STEER, api, str(tmp_path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = "finished steps are kept"
    assert done.stdout.splitlines() == [
        "None",  # there is no paused run: a new one is submitted
        f"pause; mine pauses; {kept}: `ratchet resume {tmp_path}`; PAUSED Suspended",
        f"pause; {tmp_path} has no run at this worker",
        "resume; mine resumes; SCHEDULED Resuming",
        f"cancel; mine is cancelled; {kept}; CANCELLED Cancelled",
    ]


def test_the_doctor_says_what_it_takes(served: Served) -> None:
    environment = {"PREFECT_API_URL": f"{served.url}/api"}
    found = check_prefect(None, environment, 30)
    assert found.severity == "problem"
    assert "answers 403: The secret of this server is missing" in found.what
    told = found.remedy.partition("PREFECT_CLIENT_CUSTOM_HEADERS='")[2].partition("'")[0]
    secret = served.key[HEADER]
    environment["PREFECT_CLIENT_CUSTOM_HEADERS"] = told.replace("…", secret)  # followed literally
    assert check_prefect(None, environment, 30).severity == "ok"


def test_its_secret_is_for_nobody_else(served: Served, tmp_path: Path) -> None:
    path = worker_key_path(served.layout)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = provide_key(path)
    assert again.headers == served.key  # browsers stay signed in
    copy = tmp_path / "credentials.json"
    first = provide_key(copy)
    copy.chmod(0o644)
    assert provide_key(copy).secret != first.secret
    assert list(tmp_path.iterdir()) == [copy]
    copy.write_text("{")
    with pytest.raises(BadInput, match="does not hold a server's secret"):
        provide_key(copy)
    with pytest.raises(BadInput, match="no server has served pages from"):
        new_link(tmp_path / "nowhere")


def test_names_that_are_none() -> None:
    assert check_hosts(["ratchet.example.com", "host:8443", "[fd00::1]:80", "10.0.0.1"])
    for wrong in ("https://ratchet.example.com", "*", "", "a/b", "a b", "-a", "host:"):
        with pytest.raises(BadInput, match="is not a host name"):
            check_hosts([wrong])


@pytest.mark.browser
def test_a_browser_signs_in_once(served: Served, browser: "Browser") -> None:
    key = read_key(worker_key_path(served.layout))
    assert key is not None
    context = browser.new_context()
    page = context.new_page()
    failed: list[str] = []
    page.on("response", lambda r: failed.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("websocket", lambda s: s.on("socketerror", lambda e: failed.append(f"{s.url} {e}")))
    page.goto(f"{served.url}/runs", timeout=WAIT_MS)
    assert "The secret of this server is missing" in page.inner_text("body")
    failed.clear()
    link = new_link(served.layout.root)
    page.goto(link, timeout=WAIT_MS)
    page.wait_for_url(f"{served.url}/runs", timeout=WAIT_MS)
    page.get_by_text("Runs", exact=True).first.wait_for(timeout=WAIT_MS)
    page.wait_for_load_state("networkidle", timeout=WAIT_MS)
    page.goto(f"{served.url}/ratchet/report.html", timeout=WAIT_MS)
    assert page.inner_text("h1") == "Of this campaign"
    print(*failed, sep="\n")
    assert not failed
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert read_key(worker_key_path(served.layout)) == key and key.secret != cookie["value"]
    other = browser.new_context().new_page()
    other.goto(link, timeout=WAIT_MS)
    assert "already used" in other.inner_text("body")
    other.goto(sign_in_link(key, "/ratchet/report.html"), timeout=WAIT_MS)
    other.wait_for_url(f"{served.url}/ratchet/report.html", timeout=WAIT_MS)
    context.close()
    assert HEADER not in page.url
