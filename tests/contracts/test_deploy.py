"""The compose file for production, read without Docker: pinned, without secrets, documented."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from labeling.server.environment import VERSION

FOLDER = Path(__file__).parents[2] / "deploy" / "argilla"
TEXT = (FOLDER / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:\?|:-)?([^}]*)\}")
SECRET = re.compile(r"PASSWORD|SECRET|KEY|TOKEN")


def settings(text: str) -> dict[str, str | None]:
    """NAME=value lines; None for those that are commented out."""
    found: dict[str, str | None] = {}
    for hidden, name, value in re.findall(r"^(#?)(\w+)=(.*)$", text, re.MULTILINE):
        found[name] = None if hidden else value
    return found


def test_services_and_their_pinned_images() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert set(images) == {"argilla", "worker", "postgres", "elasticsearch", "redis"}
    assert images["argilla"] == images["worker"] == f"argilla/argilla-server:v{VERSION}"
    for image in images.values():
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?$", image), image


def test_no_secret_has_a_default() -> None:
    named = {name: (operator, rest) for name, operator, rest in VARIABLE.findall(TEXT)}
    secrets = {name for name in named if SECRET.search(name)}
    assert len(secrets) == 6
    assert {name: named[name][0] for name in secrets} == dict.fromkeys(secrets, ":?")
    assert {operator for operator, _ in named.values()} == {":?", ":-"}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key) or "@" in str(value):
                assert "${" in str(value), key
    assert not re.search(r"12345678|argilla\.apikey|changeme", TEXT)


def test_every_variable_is_documented_and_none_else() -> None:
    named = {name for name, _, _ in VARIABLE.findall(TEXT)}
    example = settings((FOLDER / ".env.example").read_text())
    assert set(example) == named
    assert {example[name] for name in named if SECRET.search(name)} == {""}
    table = re.findall(r"^\| `(\w+)` \| (.*?) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    defaults = {name: rest for name, operator, rest in VARIABLE.findall(TEXT) if operator == ":-"}
    assert dict(table) == {
        name: f"`{defaults[name]}`" if name in defaults else "none" for name in named
    }


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_watched_and_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"
    waits = service.get("depends_on", {})
    stores = {"postgres", "elasticsearch", "redis"}
    expected = {"argilla": stores, "worker": stores | {"argilla"}}.get(name, set())
    assert set(waits) == expected
    assert all(wait["condition"] == "service_healthy" for wait in waits.values())


def test_data_is_in_named_volumes_and_only_argilla_is_published_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"argilla": ["${ARGILLA_BIND:-127.0.0.1}:${ARGILLA_PORT:-6900}:6900"]}
    for service in SERVICES.values():
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_telemetry_is_off_and_other_origins_are_shut_out() -> None:
    for name in ("argilla", "worker"):
        environment = SERVICES[name]["environment"]
        assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
        assert environment["ARGILLA_CORS_ORIGINS"] == "[]"


def test_the_documented_commands_fill_in_every_secret(tmp_path: Path) -> None:
    """The shell lines of the first step, run as they stand."""
    import subprocess

    [script, *_] = re.findall(r"```bash\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    (tmp_path / ".env.example").write_text((FOLDER / ".env.example").read_text())
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    made = settings((tmp_path / ".env").read_text())
    secrets = [value for name, value in made.items() if SECRET.search(name)]
    assert len(set(secrets)) == 6 and all(
        re.fullmatch(r"[0-9a-f]{48}", value or "") for value in secrets
    )
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
