"""What can be done from a page: for each action the command that does it."""

import asyncio
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpo_core.errors import BadInput

_TIMEOUT_S = 300.0

Form = Mapping[str, str]
"""What a page sends along; text as it was typed."""


@dataclass(frozen=True)
class Action:
    """A button. words: the command after `ratchet`, from the campaign's folder and the form."""

    label: str
    words: Callable[[Path, Form], Sequence[str]]
    worker: bool = False
    """Whether it needs the worker of `ratchet up`."""


@dataclass(frozen=True)
class Outcome:
    """What a command said."""

    command: str
    exit_code: int
    text: str


def _decide(choice: str) -> Callable[[Path, Form], Sequence[str]]:
    def words(root: Path, form: Form) -> Sequence[str]:
        reason = form.get("reason", "").strip()
        return ("decide", str(root), choice, *(("--reason", reason) if reason else ()))

    return words


def _roll_back(root: Path, form: Form) -> Sequence[str]:
    why = form.get("why", "").strip()
    to = ("--to-round", _number(form, "to_round"))
    return ("rollback", str(root), *to, *(("--why", why) if why else ()))


def _branch(root: Path, form: Form) -> Sequence[str]:
    name = form.get("name", "").strip()
    named = ("--name", name) if name else ()
    return (
        *("branch", str(root), "--from-round", _number(form, "from_round"), *named),
        *overrides(form.get("changes", "")),
    )


def overrides(lines: str) -> list[str]:
    """`--set key=value` for each line `key=value` or `key: value`.

    Raises BadInput for a line that is neither.
    """
    words = []
    for line in filter(None, map(str.strip, lines.splitlines())):
        match = re.fullmatch(r"([A-Za-z_][\w.]*)\s*[=:]\s*(.*)", line)
        if match is None:
            raise BadInput(f"{line!r} is not a change", "Write one key=value in each line.")
        words += ["--set", f"{match[1]}={match[2]}"]
    return words


def _number(form: Form, name: str) -> str:
    text = form.get(name, "").strip()
    if not text.isdecimal():
        raise BadInput(f"{text!r} is not the number of a round", "Choose one of the list.")
    return text


ACTIONS: Mapping[str, Action] = {
    "promote": Action("Promote it", _decide("--promote")),
    "keep": Action("Keep the current policy", _decide("--keep")),
    "pause": Action("Pause", lambda root, form: ("pause", str(root)), worker=True),
    "resume": Action("Run again", lambda root, form: ("resume", str(root)), worker=True),
    "cancel": Action("Cancel", lambda root, form: ("cancel", str(root)), worker=True),
    "rollback": Action("Roll back", _roll_back),
    "undo": Action("Undo the last rollback", lambda root, form: ("rollback", str(root), "--undo")),
    "branch": Action("Branch", _branch),
}


@dataclass(frozen=True)
class CommandLine:
    """Runs `ratchet` as it is started here. start: the words before the command's own. folder: in
    which it runs. worker: folder of the worker that campaigns are submitted to; None without one.
    """

    start: Sequence[str]
    folder: Path
    worker: Path | None

    def in_full(self, words: Sequence[str]) -> list[str]:
        """With the worker's folder, where the command asks for one."""
        takes_worker = words[0] in ("submit", "pause", "resume", "cancel")
        option = ["--dir", str(self.worker)] if takes_worker and self.worker is not None else []
        return [*words, *option]

    async def run(self, words: Sequence[str]) -> Outcome:
        """Run it to its end; what it printed, and with which exit code it ended."""
        words = self.in_full(words)
        process = await asyncio.create_subprocess_exec(
            *self.start,
            *words,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            said = f"It had not ended after {_TIMEOUT_S:.0f} s and was stopped.".encode()
        code = process.returncode if process.returncode is not None else 1
        return Outcome(shlex.join(["ratchet", *words]), code, said.decode(errors="replace").strip())
