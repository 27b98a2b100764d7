"""Every example in a docstring prints what it says."""

import doctest
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

from tests.contracts.import_graph import PACKAGES, ROOT


def modules_with_examples() -> list[str]:
    files = subprocess.run(
        ["git", "ls-files", *(f"{package}/*.py" for package in (*PACKAGES, "examples"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return [
        ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
        for file in files
        if ">>> " in (ROOT / file).read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_print_what_they_say(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0 and result.failed == 0
