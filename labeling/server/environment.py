"""The virtual environment of the embedded server, made once per user.

argilla-server pins what contradicts Ratchet's own packages, so it cannot share their environment.
It is made where caches are, by the Python and the pip configuration that Ratchet itself runs with.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from dpo_core.atomic import write_text
from dpo_core.errors import BadInput, LabelServerFailed
from dpo_core.file_lock import Holder, hold, holder

VERSION = "2.8.0"
REQUIREMENTS = (
    f"argilla-server=={VERSION}",
    "click<8.2",  # the typer that argilla-server pins breaks with a newer one
)

Say = Callable[[str], None]
"""Called with one line about what goes on now."""

_LOG_TAIL_LINES = 8
_PATIENCE_S = 900.0


def ensure_python(say: Say) -> Path:
    """The environment's Python; makes the environment unless it is there.

    Raises LabelServerFailed with the end of pip's log when it cannot be made.
    """
    folder = environment_folder()
    if not is_complete(folder):
        _make(folder, say)
    return _python(folder)


def environment_folder() -> Path:
    """Another list of requirements or another Python is another environment."""
    text = "\n".join(REQUIREMENTS)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return user_cache_path("ratchet") / f"argilla-server-{VERSION}-{python}-{key}"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def is_complete(folder: Path) -> bool:
    """Whether it was finished, and the Python that it is made of is still there."""
    return (folder / "complete").exists() and _python(folder).exists()


def _make(folder: Path, say: Say) -> None:
    def refusal(found: Holder) -> BadInput:
        return BadInput(
            f"process {found['pid']} on {found['host']} is still making {folder}",
            "Wait for it, or end it, then type the same command again.",
        )

    lock = folder.with_name(f"{folder.name}.lock")
    if holder(lock) is not None:
        say("Another process is making Argilla's environment: waiting for it.")
    with hold(lock, refusal, patience_s=_PATIENCE_S) as held:
        if is_complete(folder):  # made by another process while this one waited
            return
        say(f"Making Argilla's own environment, once: 600 MB in {folder}")
        shutil.rmtree(folder, ignore_errors=True)  # what a killed one left
        log = folder.with_name(f"{folder.name}.log")
        # pip holds the lock as well: it may outlive a Ratchet that is killed, and go on writing.
        _run([sys.executable, "-m", "venv", str(folder)], log, say, held.fileno())
        pip = [str(_python(folder)), "-m", "pip", "install", "--progress-bar", "off"]
        _run([*pip, *REQUIREMENTS], log, say, held.fileno())
        write_text(folder / "complete", "\n".join(REQUIREMENTS) + "\n")
        say("Argilla's environment is ready.")


def _run(command: list[str], log: Path, say: Say, lock: int) -> None:
    env = {key: text for key, text in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env=env,
            pass_fds=(lock,),
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                file.write(line)
                for news in progress_lines(line):
                    say(news)
            code = process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise LabelServerFailed(
            f"Argilla's environment could not be made; the end of {log}:\n{_tail(log)}",
            "It is installed with pip as configured on this machine. A network error: type the "
            "same command again.",
        )


def progress_lines(line: str) -> Iterator[str]:
    """What is worth telling of a line of pip's output."""
    words = line.split()
    if words[:1] == ["Collecting"]:
        yield f"collecting {words[1]}"
    elif words[:2] == ["Installing", "collected"]:
        yield f"installing {line.count(',') + 1} packages"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if "is ignored" not in line]
    return "\n".join(f"    {line}" for line in said[-_LOG_TAIL_LINES:])
