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

from dpo_core.errors import BadInput
from dpo_core.file_lock import holder
from labeling.server import Access, Server, add_user, running, start
from labeling.server.users import call
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


def names(server: Server) -> set[str]:
    return {user["username"] for user in call(server.access, "GET", "users")["items"]}


def test_the_life_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, killed, refused, without its credentials, open to others: nothing is ever lost."""
    folder = tmp_path / "100% ours? #1, 'argilla'"  # no part of a URL
    # Settings of a user's other server must not reach this one.
    monkeypatch.setenv("ARGILLA_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.db")
    monkeypatch.setenv("ARGILLA_BASE_URL", "/elsewhere")

    with running(folder) as server:
        first, port = server.credentials, server.port
        assert (folder / "argilla.db").exists() and not (tmp_path / "elsewhere.db").exists()
        made = call(server.access, "POST", "users", WEAK)
        token = sign_in(server, first.username, first.password)
    assert processes_in(folder) == []

    again = start(folder, port)
    assert again.credentials == first  # the same address, password and key
    assert_ready_soon(again)
    # A session of before is still valid: the secret that signs it has been kept.
    assert me(again, {"Authorization": f"Bearer {token}"})["username"] == first.username
    add_user(again.access, "ann")
    again.kill()
    job = leave_a_job(folder)

    with pytest.raises(BadInput, match="user 'old' has a default password") as refused:
        start(folder, host="0.0.0.0")
    assert "12345678" not in str(refused.value) and not (folder / "tmp").exists()

    (folder / "credentials.json").unlink()
    with running(folder) as server:  # the loopback address is not open to others
        assert server.access.api_key != first.api_key
        until(lambda: not job.exists())  # carried out, as if nothing had happened
        sign_in(server, server.credentials.username, server.credentials.password)
        with pytest.raises(BadInput, match="refuses the API key"):
            add_user(Access(server.access.url, first.api_key), "bob")
        call(server.access, "PATCH", f"users/{made['id']}", {"password": "a much better one"})

    with start(folder, host="0.0.0.0") as opened:
        assert names(opened) == {first.username, "old", "ann"}


def leave_a_job(folder: Path) -> Path:
    """What a server that was killed leaves of a job: records of some dataset to look at again."""
    job = folder / "jobs" / "6a0f8d7e.json"
    arguments = [{"uuid": "00000000-0000-4000-8000-000000000000"}]
    entry = {"job": "update_dataset_records_status_job", "args": arguments, "kwargs": {}}
    job.write_text(json.dumps(entry))
    return job


def assert_ready_soon(server: Server) -> None:
    """Ready within 10 s of a core; on the clock as well, where nothing else takes the cores."""
    [process] = processes_in(server.folder)
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    print(f"ready after {server.seconds_start:.1f} s, {cpu_s:.1f} s of a core")
    assert cpu_s <= 10


def sign_in(server: Server, username: str, password: str) -> str:
    form = f"username={username}&password={password}".encode()
    with urllib.request.urlopen(f"{server.credentials.url}/api/v1/token", form) as answer:
        token: str = json.load(answer)["access_token"]
    return token


def me(server: Server, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(f"{server.credentials.url}/api/v1/me", headers=headers)
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_an_annotator_signs_in_and_is_in_the_workspace(argilla: Server) -> None:
    password = add_user(argilla.access, "carol")
    token = sign_in(argilla, "carol", password)
    found = me(argilla, {"Authorization": f"Bearer {token}"})
    assert found["role"] == "annotator"
    places = call(Access(argilla.access.url, found["api_key"]), "GET", "me/workspaces")["items"]
    assert [place["name"] for place in places] == ["ratchet"]
    with pytest.raises(BadInput, match="there is a user 'carol' already"):
        add_user(argilla.access, "carol")
    with pytest.raises(BadInput, match="refuses the API key"):
        add_user(Access(argilla.access.url, "argilla.apikey"), "dave")


def test_what_it_writes_is_for_nobody_else(argilla: Server) -> None:
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


def answered(server: Server, **headers: str) -> tuple[int, str]:
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


def test_no_page_of_another_origin_and_no_telemetry(argilla: Server) -> None:
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


@pytest.mark.parametrize(
    ("number", "host"), [(signal.SIGINT, "127.0.0.1"), (signal.SIGTERM, "0.0.0.0")]
)
def test_the_command_stops_in_order(tmp_path: Path, number: signal.Signals, host: str) -> None:
    folder, temporary = tmp_path / "argilla", tmp_path / "temporary"
    temporary.mkdir()
    with served(folder, "--port", "0", "--host", host, TMPDIR=str(temporary)) as (process, said):
        assert "Argilla: http://127.0.0.1:" in said
        assert ("! Listening on 0.0.0.0 without encryption" in said) == (host == "0.0.0.0")
        [server] = processes_in(folder)
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
        assert not Path(f"/proc/{server}").exists()
    assert list(temporary.iterdir()) == []
    kept = {"argilla.db", "auth-secret", "credentials.json", "jobs", "lock", "server.log"}
    assert {path.name for path in folder.iterdir()} - {"server_id.dat"} == kept
    secrets = json.loads((folder / "credentials.json").read_text())
    log = (folder / "server.log").read_text()
    assert secrets["password"] not in said + log and secrets["api_key"] not in said + log


def test_no_orphan_when_the_command_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "argilla"
    with served(folder, "--port", "0") as (process, _):
        assert processes_in(folder)
        process.kill()
        process.wait()
        until(lambda: processes_in(folder) == [])
    until(lambda: holder(folder / "lock") is None)  # its folder is free
    assert not (folder / "tmp").exists()


def test_a_served_folder_and_a_taken_port_are_bad_input(argilla: Server, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"is being served by process {os.getpid()}"):
        start(argilla.folder)
    with pytest.raises(BadInput, match=f"cannot listen on 127.0.0.1, port {argilla.port}"):
        start(tmp_path / "other", argilla.port)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInput, match="is a file"):
        start(file)
    assert argilla.alive()


def test_adding_a_user_says_how_to_start_a_server(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(BadInput, match="no Argilla server answers") as refused:
        add_user(Access(f"http://127.0.0.1:{port}", "key"), "ann")
    assert "ratchet label serve" in refused.value.remedy
