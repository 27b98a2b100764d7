"""The virtual environment of the embedded server, created once per user.

argilla-server pins versions that conflict with Ratchet's, so it needs an environment of its own. It
lies in the user's cache and uses Ratchet's own Python and pip configuration.
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

from dpo_core.atomic import write_text
from dpo_core.errors import BadInput, LabelServerFailed
from dpo_core.file_lock import Holder, hold, holder
from dpo_core.user_cache import user_cache

VERSION = "2.8.0"
REQUIREMENTS = (
    f"argilla-server=={VERSION}",
    "click<8.2",  # the typer that argilla-server pins breaks with a newer one
)

Say = Callable[[str], None]
"""Called with one line of progress."""

_LOG_TAIL_LINES = 8
_PATIENCE_S = 900.0


def ensure_python(say: Say) -> Path:
    """The environment's Python; creates the environment if it is missing.

    Raises LabelServerFailed with the end of pip's log when that fails.
    """
    folder = environment_folder()
    if not is_complete(folder):
        _create(folder, say)
    return _python(folder)


def environment_folder() -> Path:
    """The environment's folder, specific to the requirements and the Python version."""
    text = "\n".join(REQUIREMENTS)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return user_cache() / f"argilla-server-{VERSION}-{python}-{key}"


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def is_complete(folder: Path) -> bool:
    """Whether the installation finished, and the Python it uses still exists."""
    return (folder / "complete").exists() and _python(folder).exists()


def _create(folder: Path, say: Say) -> None:
    def refusal(owner: Holder) -> BadInput:
        return BadInput(
            f"process {owner['pid']} on {owner['host']} is still installing {folder}",
            "Wait for it, or end it, then run the same command again.",
        )

    lock = folder.with_name(f"{folder.name}.lock")
    if holder(lock) is not None:
        say("Another process is installing Argilla's environment: waiting for it.")
    with hold(lock, refusal, patience_s=_PATIENCE_S) as held:
        if is_complete(folder):  # by another process while this one waited
            return
        say(f"Installing Argilla's environment, once: 600 MB in {folder}")
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
        log = folder.with_name(f"{folder.name}.log")
        # pip also holds the lock, since it may outlive a killed Ratchet and continue writing.
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
                for progress in progress_lines(line):
                    say(progress)
            code = process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code:
        raise LabelServerFailed(
            f"Argilla's environment could not be installed; the end of {log}:\n{_tail(log)}",
            "pip installs it as configured on this machine. After a network error, run the same "
            "command again.",
        )


def progress_lines(line: str) -> Iterator[str]:
    """The progress in a line of pip's output, if any."""
    words = line.split()
    if words[:1] == ["Collecting"]:
        yield f"collecting {words[1]}"
    elif words[:2] == ["Installing", "collected"]:
        yield f"installing {line.count(',') + 1} packages"


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    useful = [line for line in lines if "is ignored" not in line]
    return "\n".join(f"    {line}" for line in useful[-_LOG_TAIL_LINES:])
