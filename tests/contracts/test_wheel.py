"""The built wheel in an empty environment: the command, what travels with it, and what it advises.

Dependencies come from the environment that runs the tests, by a .pth file; nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
TRAVELS = (
    *("console", "dpo_core", "examples", "flows", "generation", "labeling", "reporting"),
    *("configs", "constraints", "pyproject.toml", "README.md", "LICENSE"),
)


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """The files of a wheel as git knows them: a build leaves none in the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", *TRAVELS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--isolated", "-q"]
    offline = ["--no-index", "--no-deps"]
    with copied(place / "source") as source:
        build = ["wheel", *offline, "--no-build-isolation", "-w", place / "dist", source]
        subprocess.run([*pip, *build], check=True)
    made = place / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    install = ["install", *offline, "--find-links", place / "dist", "ratchet-dpo"]
    subprocess.run([*pip, "--python", made / "bin" / "python", *install], check=True)
    [packages] = made.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def run(folder: Path, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)


def test_a_first_campaign_from_a_wheel(venv: Path, tmp_path: Path) -> None:
    ratchet, python = venv / "bin" / "ratchet", venv / "bin" / "python"
    assert run(tmp_path, ratchet, "--version").stdout == f"ratchet {VERSION}\n"
    begun = run(tmp_path, ratchet, "init", "mine")
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout.endswith("next: cd mine; ratchet doctor config.yaml\n")
    assert run(tmp_path / "mine", python, "test_my_judge.py").stdout == "ok\n"
    demo = run(tmp_path, ratchet, "init", "demo", "--recipe", "demo-cpu")
    assert demo.returncode == 0, demo.stderr
    wrong = run(tmp_path / "demo", ratchet, "run", "config.yaml", "--set", "training.lr=1")
    assert wrong.returncode == 2 and "did you mean learning_rate?" in wrong.stderr


def test_remedies_name_what_fits_a_wheel(venv: Path, tmp_path: Path) -> None:
    script = (
        "import flows, dpo_core.install_hint as hint\n"
        "print(flows.__file__, hint.is_checkout(), hint.install('ray'), sep='\\n')\n"
        "print(hint.install_cpu_profile(), hint.page('judges.md'), sep='\\n')"
    )
    where, checkout, extra, profile, page = run(
        tmp_path, venv / "bin" / "python", "-c", script
    ).stdout.splitlines()
    assert Path(where).is_relative_to(venv) and checkout == "False"
    assert extra == "pip install 'ratchet-dpo[ray]'"
    *command, locked = profile.split()
    assert "--extra-index-url" in command
    assert Path(locked).read_text() == (ROOT / "constraints" / "cpu.txt").read_text()
    assert page == "judges.md of Ratchet's documentation"
