"""Links that sign a browser in to the label server."""

import json
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dpo_core.errors import BadInput
from labeling.server.users import sign_in_link
from tests.shared_argilla import SharedArgilla

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WAIT_MS = 60_000
WHO = """fetch("/api/v1/me", {headers: {Authorization: localStorage["auth._token.local"]}})
  .then((answer) => answer.json()).then((user) => user.username)"""


@pytest.mark.browser
def test_link_signs_in_once(argilla: SharedArgilla, browser: "Browser") -> None:
    link = sign_in_link(argilla.credentials, "/user-settings")
    page = browser.new_context().new_page()
    page.goto(link, timeout=WAIT_MS)
    page.wait_for_url("**/user-settings", timeout=WAIT_MS)
    assert page.evaluate(WHO) == argilla.credentials.username
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link, timeout=60)


def test_only_the_owner_makes_links(argilla: SharedArgilla) -> None:
    with pytest.raises(BadInput, match="refuses"):
        sign_in_link(replace(argilla.credentials, password="wrong"), "/")
    request = urllib.request.Request(
        f"{argilla.credentials.url}/ratchet/link",
        json.dumps({"token": "x", "to": "/"}).encode(),
        {"X-Argilla-Api-Key": "another", "Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=60)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{argilla.credentials.url}/ratchet/sign-in/nothing", timeout=60)
