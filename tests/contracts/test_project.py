"""The project builds anywhere: a complete lock, no machine's paths, no package registry's names."""

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEFT_OUT = {"torchaudio", "torchcodec", "torchvision", "triton"}  # scripts/lock.sh says why
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def locked() -> dict[str, str]:
    lines = (ROOT / "constraints" / "cpu.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def unmet(requirement: str, pins: dict[str, str], python: str) -> bool:
    """Whether `pins` lack what `requirement` asks for on that Python."""
    wanted = Requirement(requirement)
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    if wanted.marker and not wanted.marker.evaluate({**environment, "extra": ""}):
        return False
    name = canonicalize_name(wanted.name)
    if name in LEFT_OUT:
        return False
    return name not in pins or not wanted.specifier.contains(pins[name], prereleases=True)


def test_lock_fits_what_the_project_declares() -> None:
    extras = PROJECT["optional-dependencies"]
    locked_extras = ("cpu", "labeling", "tracking", "docs", "dev")  # as scripts/lock.sh names them
    declared = [*PROJECT["dependencies"], *(one for name in locked_extras for one in extras[name])]
    assert [line for line in declared if unmet(line, locked(), "3.11.2")] == []


@pytest.mark.parametrize("python", ["3.11.2", "3.12.3", "3.13.5"])
def test_lock_is_complete(python: str) -> None:
    """It is installed with --no-deps, so it must hold every dependency of its packages."""
    pins = locked()
    missing = []
    for name in pins:
        try:
            needed = requires(name) or []
        except PackageNotFoundError:  # in the lock for another Python than this one
            continue
        missing += [f"{name} needs {line}" for line in needed if unmet(line, pins, python)]
    assert missing == []


def test_lock_names_no_place() -> None:
    assert not re.search(r"@|://|file:", (ROOT / "constraints" / "cpu.txt").read_text())


def tracked_text() -> dict[str, str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    texts = {}
    for name in listed.stdout.split():
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):  # a link to a folder
            continue
    return texts


def test_no_file_names_a_machine_or_a_registry() -> None:
    registries = r"pypi\.org|files\.pythonhosted|registry\.npmjs|conda\.anaconda|/simple/"
    machines = r"(?<![\w.])/(?:work|root|opt)/\w|/home/\w"
    pattern = re.compile(f"{registries}|{machines}")
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = {
        name: pattern.findall(text.replace(TORCH_CPU_INDEX, ""))
        for name, text in tracked_text().items()
        if name != own
    }
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[{re.escape(PROJECT['version'])}\] - \d{{4}}-\d\d-\d\d$", text, re.M)


def test_licence_is_apache_2() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
