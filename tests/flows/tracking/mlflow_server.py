"""A real MLflow server beside the packages that it cannot share an environment with."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from platformdirs import user_cache_path

from dpo_core.atomic import write_text
from dpo_core.file_lock import hold
from flows.prefect.server import free_port

CLIENT = version("mlflow-skinny")
SERVER = (
    f"mlflow=={CLIENT}",
    f"mlflow-tracing=={CLIENT}",
    *("blinker", "flask", "flask-cors", "graphene", "graphql-core", "graphql-relay"),
    *("gunicorn", "huey", "itsdangerous", "prettytable", "skops", "wcwidth"),
)
"""What the server needs besides our own packages. Its cap on pyarrow does not matter to it."""
READY_S = 240


def folder_of(name: str, requirements: Sequence[str]) -> Path:
    """A folder for PYTHONPATH with these packages alone, made once per user."""
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    folder = user_cache_path("ratchet") / f"tests-{name}-{python}"
    wanted = "\n".join(requirements)
    done = folder / "complete"
    with hold(folder.with_name(f"{folder.name}.lock"), lambda _: TimeoutError(), patience_s=300):
        if not done.exists() or done.read_text() != wanted:
            done.unlink(missing_ok=True)
            pip = [sys.executable, "-m", "pip", "install", "-q", "--upgrade", "--no-deps"]
            only = ["--only-binary", ":all:", "--target", str(folder)]
            subprocess.run([*pip, *only, *requirements], check=True, capture_output=True)
            write_text(done, wanted)
    return folder


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address; it keeps everything below `folder`."""
    packages = folder_of(f"mlflow-{CLIENT}", SERVER)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    stores = [f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    options = ["--port", str(port), "--workers", "1", "--backend-store-uri", *stores]
    env = {"PYTHONPATH": str(packages), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that nobody needs
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *options], env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _await(address, server, folder / "server.log")
        yield address
    finally:
        subprocess.run(["kill", "--", f"-{server.pid}"], check=False)
        server.wait()


def _await(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise TimeoutError(log.read_text())
