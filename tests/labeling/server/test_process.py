"""The embedded server started, stopped, killed and started again; its secrets."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dpo_core.cpu_time import cpu_seconds
from dpo_core.errors import BadInput
from dpo_core.file_lock import holder
from labeling.server import Access, Credentials, add_user, running, start
from labeling.server.credentials import read_credentials
from labeling.server.users import call
from tests.shared_argilla import SharedArgilla
from tests.until import until

ROOT = Path(__file__).parents[3]
WAIT_S = 60.0
WEAK = {"username": "old", "first_name": "old", "password": "12345678"}


def processes_in(folder: Path) -> list[int]:
    """Processes whose current folder it is: argilla-server's, and whatever it started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")) == folder.resolve():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@contextmanager
def served(
    folder: Path, *arguments: str, **env: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`ratchet label serve` as a process, and what it printed until it was ready."""
    command = [sys.executable, "-m", "flows.cli", "label", "serve", "--dir", str(folder)]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.startswith("Ctrl-C stops"):
                break
        yield process, said
    finally:
        process.kill()
        process.communicate()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_life_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, killed, refused, without its credentials, open to others: nothing is ever lost.

    Once by itself, then by `ratchet label serve`.
    """
    folder = tmp_path / "100% ours? #1, 'argilla'"  # no part of a URL
    # Settings of a user's other server must not reach this one.
    monkeypatch.setenv("ARGILLA_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
    monkeypatch.setenv("ARGILLA_BASE_URL", "/elsewhere")

    with running(folder) as server:
        first, port = server.credentials, server.port
        assert (folder / "argilla.db").exists() and not (tmp_path / "elsewhere.db").exists()
        made = call(server.access, "POST", "users", WEAK)
        token = sign_in(first, first.password)
    assert processes_in(folder) == []

    with killed(folder, "--port", str(port)) as again:
        assert again == first  # the same address, password and key
        assert_ready_soon(folder)
        # A session of before is still valid: the secret that signs it has been kept.
        assert me(first, {"Authorization": f"Bearer {token}"})["username"] == first.username
        add_user(first.access, "ann")
    job = leave_a_job(folder)

    with pytest.raises(BadInput, match="user 'old' has a default password") as refused:
        start(folder, host="0.0.0.0")
    assert "12345678" not in str(refused.value) and not (folder / "tmp").exists()

    (folder / "credentials.json").unlink()
    with stopped_in_order(folder, signal.SIGINT) as second:  # loopback is not open to others
        assert second.api_key != first.api_key
        until(lambda: not job.exists())  # carried out, as if nothing had happened
        sign_in(second, second.password)
        with pytest.raises(BadInput, match="refuses the API key"):
            add_user(Access(second.url, first.api_key), "bob")
        call(second.access, "PATCH", f"users/{made['id']}", {"password": "a much better one"})

    with stopped_in_order(folder, signal.SIGTERM, "--host", "0.0.0.0") as opened:
        users = call(opened.access, "GET", "users")["items"]
        assert {user["username"] for user in users} == {first.username, "old", "ann"}


@contextmanager
def killed(folder: Path, *arguments: str) -> Iterator[Credentials | None]:
    """`ratchet label serve`, killed in the end: it leaves no orphan."""
    with served(folder, *arguments) as (process, _):
        assert processes_in(folder)
        yield read_credentials(folder)
        process.kill()
        process.wait()
        until(lambda: processes_in(folder) == [])
    until(lambda: holder(folder / "lock") is None)  # its folder is free
    assert not (folder / "tmp").exists()


@contextmanager
def stopped_in_order(
    folder: Path, number: signal.Signals, *arguments: str
) -> Iterator[Credentials]:
    """`ratchet label serve`, told to stop in the end: it leaves nothing, and no secret."""
    temporary = folder.parent / f"temporary-{number}"
    temporary.mkdir()
    with served(folder, "--port", "0", *arguments, TMPDIR=str(temporary)) as (process, said):
        assert "Argilla: http://127.0.0.1:" in said
        assert ("! Listening on 0.0.0.0 without encryption" in said) == ("0.0.0.0" in arguments)
        [server] = processes_in(folder)
        secrets = read_credentials(folder)
        assert secrets is not None
        yield secrets
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
        assert not Path(f"/proc/{server}").exists()
    assert list(temporary.iterdir()) == []
    kept = {"argilla.db", "auth-secret", "credentials.json", "jobs", "lock", "server.log"}
    assert {path.name for path in folder.iterdir()} - {"server_id.dat"} == kept
    log = (folder / "server.log").read_text()
    assert secrets.password not in said + log and secrets.api_key not in said + log


def leave_a_job(folder: Path) -> Path:
    """What a server that was killed leaves of a job: records of some dataset to look at again."""
    job = folder / "jobs" / "6a0f8d7e.json"
    arguments = [{"uuid": "00000000-0000-4000-8000-000000000000"}]
    entry = {"job": "update_dataset_records_status_job", "args": arguments, "kwargs": {}}
    job.write_text(json.dumps(entry))
    return job


def assert_ready_soon(folder: Path) -> None:
    """Ready within 10 s of a core."""
    [process] = processes_in(folder)
    seconds = cpu_seconds(process)
    print(f"ready after {seconds:.1f} s of a core")
    assert seconds <= 10


def sign_in(server: Credentials, password: str, username: str = "owner") -> str:
    form = f"username={username}&password={password}".encode()
    with urllib.request.urlopen(f"{server.url}/api/v1/token", form) as answer:
        token: str = json.load(answer)["access_token"]
    return token


def me(server: Credentials, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(f"{server.url}/api/v1/me", headers=headers)
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_an_annotator_signs_in_and_is_in_the_workspace(argilla: SharedArgilla) -> None:
    password = add_user(argilla.access, "carol")
    token = sign_in(argilla.credentials, password, "carol")
    found = me(argilla.credentials, {"Authorization": f"Bearer {token}"})
    assert found["role"] == "annotator"
    places = call(Access(argilla.access.url, found["api_key"]), "GET", "me/workspaces")["items"]
    assert [place["name"] for place in places] == ["ratchet"]
    with pytest.raises(BadInput, match="user 'carol' already exists"):
        add_user(argilla.access, "carol")
    with pytest.raises(BadInput, match="refuses the API key"):
        add_user(Access(argilla.access.url, "argilla.apikey"), "dave")


def test_what_it_writes_is_for_nobody_else(argilla: SharedArgilla) -> None:
    found = json.loads((argilla.folder / "credentials.json").read_text())
    assert list(found) == ["url", "username", "password", "api_key"]
    assert (
        mode(argilla.folder / "credentials.json") == mode(argilla.folder / "auth-secret") == 0o600
    )
    assert mode(argilla.folder / "argilla.db") == 0o600
    [process] = processes_in(argilla.folder)
    shown = (
        Path(f"/proc/{process}/cmdline").read_text() + Path(f"/proc/{process}/environ").read_text()
    )
    secrets = [found["password"], found["api_key"], (argilla.folder / "auth-secret").read_text()]
    assert not any(secret in shown + repr(argilla) for secret in secrets)


def answered(server: SharedArgilla, **headers: str) -> tuple[int, str]:
    """How the server answers a request with these headers, `_` as dashes: (status, text)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{server.credentials.url}/api/v1/version", headers=named)
    try:
        with urllib.request.urlopen(request) as answer:
            assert "access-control-allow-origin" not in answer.headers
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_no_page_of_another_origin_and_no_telemetry(argilla: SharedArgilla) -> None:
    assert answered(argilla)[0] == answered(argilla, Origin=argilla.credentials.url)[0] == 200
    assert answered(argilla, Host=f"localhost:{argilla.port}")[0] == 200
    code, said = answered(argilla, Origin="http://attacker.example")
    assert code == 403 and said.startswith("Pages of attacker.example may not use this server")
    name = f"attacker.example:{argilla.port}"  # which points to 127.0.0.1 by now
    for headers in ({"Host": name}, {"Host": name, "Origin": f"http://{name}"}):
        code, said = answered(argilla, **headers)
        assert code == 421 and "--allow-host attacker.example" in said
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "http://127.0.0.1:1"}
    assert answered(argilla, **upgrade)[0] == 403
    listening = subprocess.run(
        ["cat", "/proc/net/tcp", "/proc/net/tcp6"], capture_output=True, text=True, check=True
    ).stdout
    port = f":{argilla.port:04X} "
    locals_ = {line.split()[1] for line in listening.splitlines() if port in line}
    assert {address.split(":")[0] for address in locals_} == {"0100007F"}  # 127.0.0.1 alone


def test_a_served_folder_and_a_taken_port_are_bad_input(
    argilla: SharedArgilla, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=f"is being served by process {argilla.process}"):
        start(argilla.folder)
    with pytest.raises(BadInput, match=f"cannot listen on 127.0.0.1, port {argilla.port}"):
        start(tmp_path / "other", argilla.port)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInput, match="is a file"):
        start(file)
    assert answered(argilla)[0] == 200


def test_adding_a_user_says_how_to_start_a_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(BadInput, match="no Argilla server answers") as refused:
        add_user(Access(f"http://127.0.0.1:{port}", "key"), "ann")
    assert "ratchet label serve" in refused.value.remedy
