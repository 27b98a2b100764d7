"""Where a server is found: the environment first, then its folder."""

import json
from pathlib import Path

import pytest

from dpo_core.errors import BadInput
from labeling.server import Access, Credentials, find_access
from labeling.server.credentials import (
    auth_secret,
    credentials_path,
    new_credentials,
    read_credentials,
    write_credentials,
)

KEPT = Credentials("http://127.0.0.1:6900", "owner", "a password", "a key")


def test_the_environment_comes_first(tmp_path: Path) -> None:
    write_credentials(tmp_path, KEPT)
    named = {"ARGILLA_API_URL": "https://label.example/", "ARGILLA_API_KEY": "another"}
    assert find_access(tmp_path, named) == Access("https://label.example", "another")
    assert find_access(tmp_path, {}) == Access(KEPT.url, KEPT.api_key)


@pytest.mark.parametrize("missing", ["ARGILLA_API_URL", "ARGILLA_API_KEY"])
def test_half_of_an_external_server_is_refused(tmp_path: Path, missing: str) -> None:
    named = {"ARGILLA_API_URL": "https://label.example", "ARGILLA_API_KEY": "another"}
    del named[missing]
    with pytest.raises(BadInput, match=f"{missing} is not set"):
        find_access(tmp_path, named)


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no Argilla server in") as refused:
        find_access(tmp_path, {})
    assert f"ratchet label serve --dir {tmp_path}" in refused.value.remedy


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}', '{"url":'])
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, text: str) -> None:
    credentials_path(tmp_path).write_text(text)
    with pytest.raises(BadInput, match=r"credentials\.json does not hold"):
        read_credentials(tmp_path)


def test_secrets_are_random_private_and_not_shown(tmp_path: Path) -> None:
    one, two = new_credentials(), new_credentials()
    assert one.password != two.password and one.api_key != two.api_key
    assert min(map(len, (one.password, one.api_key))) >= 24
    assert one.password not in repr(one) and one.api_key not in repr((one, one.access))
    write_credentials(tmp_path, one)
    write_credentials(tmp_path, two)  # over the first
    assert json.loads(credentials_path(tmp_path).read_text())["password"] == two.password
    secret = auth_secret(tmp_path)
    assert len(secret) == 64 and auth_secret(tmp_path) == secret
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
