"""`ratchet label` as typed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import typed
from tests.shared_argilla import SharedArgilla

ROOT = Path(__file__).parents[3]


def ratchet(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ARGILLA_")}
    return typed.ratchet(("label", *arguments), ROOT, {**kept, **env})


def test_a_user_is_added_and_the_password_printed_once(argilla: SharedArgilla) -> None:
    done = ratchet("user", "add", "typed", "--dir", str(argilla.folder))
    assert done.returncode == 0, done.stderr
    url, user, password, advice = done.stdout.splitlines()
    assert url == argilla.access.url and user == "user:     typed"
    assert len(password.removeprefix("password: ")) >= 24
    assert "not stored" in advice
    again = ratchet("user", "add", "typed", "--dir", str(argilla.folder))
    assert again.returncode == 2 and "user 'typed' already exists" in again.stderr


def test_an_external_server_is_named_by_the_environment(
    argilla: SharedArgilla, tmp_path: Path
) -> None:
    access = {"ARGILLA_API_URL": argilla.access.url, "ARGILLA_API_KEY": argilla.access.api_key}
    done = ratchet("user", "add", "external", "--dir", str(tmp_path), **access)
    assert done.returncode == 0, done.stderr
    wrong = ratchet("user", "add", "x", **{**access, "ARGILLA_API_KEY": "argilla.apikey"})
    assert wrong.returncode == 2 and "refuses the API key" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["user", "add", "ann"], "there is no Argilla server in"),
        (["serve", "--port", "70000"], "Invalid value for '--port'"),
        (["serve", "--host", "no.such.host.invalid", "--port", "0"], "cannot listen on"),
    ],
)
def test_bad_input_has_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = ratchet(*arguments, "--dir", str(tmp_path / "argilla"))
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_served_folder_is_bad_input(argilla: SharedArgilla) -> None:
    done = ratchet("serve", "--dir", str(argilla.folder), "--port", "0")
    assert done.returncode == 2 and "is being served by process" in done.stderr
