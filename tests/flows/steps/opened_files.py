"""Which files of a campaign were read while which step was made: from a trace of system calls.

strace sees every process that a run starts, and libraries that read files past Python. A step
begins with the folder that it is made in and ends when that is renamed: both are in the trace.
Trackers are told of finished rounds meanwhile, by a process of their own.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path

from dpo_core.campaign.layout import FINGERPRINT_SHOWN, MANIFEST, Layout
from dpo_core.campaign.ledger import Entry, Ledger
from dpo_core.preloaded import SOCKET

_MADE_IN = re.compile(r"rounds/(\d+)/\.([a-z0-9_]+)-([0-9a-f]+)\.partial$")
_CALL = re.compile(r"^(\d+) +(?:\[[^]]*\] +)?(\w+)\((.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FORKED = re.compile(r"^(\d+) +(?:\[[^]]*\] +)?(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$")
_TELLS = re.compile(r'^(\d+) +(?:\[[^]]*\] +)?execve\(.*"flows\.tracking\.sender"')
_CALLS = (
    "open,openat,openat2,mkdir,mkdirat,rename,renameat,renameat2,execve,clone,clone3,fork,vfork"
)
"""Whoever reads a file opens it. All calls that name files (%file) would be five times as many."""
_WITHOUT_CONTENTS = ("cache/", "logs/", "tensorboard/", "judge_spending.jsonl")
"""What counts by its own contents or only tells: replies and log-probs that are remembered by what
they answer, what children print, curves, what was spent."""


@dataclass(frozen=True)
class Read:
    """A file that was opened for reading while a step was made, relative to the campaign.

    version: of the step, as its folder's name has it.
    """

    round: int
    step: str
    file: str
    version: str = field(default="", compare=False)


def traced(command: Sequence[str], trace: Path, **options: object) -> subprocess.CompletedProcess:  # type: ignore[type-arg]
    """Run a command under strace, its children included: those it starts, so none is forked."""
    strace = [
        "env",
        "-u",
        SOCKET,
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-s",
        "4096",
        "-e",
        f"trace={_CALLS}",
    ]
    return subprocess.run([*strace, "-o", str(trace), "--", *command], **options)  # type: ignore[call-overload,no-any-return]


def undeclared(found: Iterable[Read], root: Path) -> set[Read]:
    """Those reads of the campaign's files that were none of the running step's inputs.

    Step `labels` has its round's log: its recipe says how often that was read.
    """
    layout = Layout(root)
    entries = Ledger(layout.ledger).read()
    hashes = _hashes(layout, entries)
    declared = {
        (e.round, e.step, e.fingerprint[:FINGERPRINT_SHOWN]): set(e.inputs.values())
        for e in entries
    }
    return {
        read
        for read in found
        if not read.file.startswith(_WITHOUT_CONTENTS)
        and not hashes.get(read.file, set()) & declared[read.round, read.step, read.version]
        and not (read.step == "labels" and root / read.file == layout.labels(read.round))
    }


def reads(trace: Path, root: Path) -> Iterator[Read]:
    """Files of the campaign that were opened for reading within steps, their own ones apart, and
    those apart that trackers were told of."""
    making: re.Match[str] | None = None
    for name, arguments in _calls(trace, root):
        paths = [_inside(path, root) for path in _PATH.findall(arguments)]
        if name.startswith("mkdir") and paths and (found := _MADE_IN.search(paths[0])):
            making = found
        elif name.startswith("rename") and paths and _MADE_IN.search(paths[0]):
            making = None
        elif making is not None and name.startswith("open") and _reads(arguments) and paths:
            own = making.group(0)
            # A folder is opened to be flushed.
            if paths[0] and not paths[0].startswith(own) and not (root / paths[0]).is_dir():
                number, step, version = making.groups()
                yield Read(int(number), step, paths[0], version)


def _calls(trace: Path, root: Path) -> Iterator[tuple[str, str]]:
    """(name, arguments) of calls that name a file of the campaign and do not fail; none of the
    processes that tell trackers."""
    tell = _that_tell(trace)
    for line in _lines(trace):
        if root.name in line and " = -1 " not in line and (found := _CALL.match(line)):
            process, name, arguments = found.groups()
            if process not in tell:
                yield name, arguments


def _that_tell(trace: Path) -> set[str]:
    """Ids of the processes that tell trackers, of their threads and of their children."""
    tell, children = set[str](), list[tuple[str, str]]()
    for line in _lines(trace):
        if found := _TELLS.match(line):
            tell.add(found[1])
        elif found := _FORKED.match(line):
            children.append((found[1], found[2]))
    for parent, child in children:  # in the order in which they were made
        if parent in tell:
            tell.add(child)
    return tell


def _lines(trace: Path) -> Iterator[str]:
    with trace.open(encoding="utf-8", errors="replace") as lines:
        yield from lines


def _reads(arguments: str) -> bool:
    return "O_WRONLY" not in arguments and "O_DIRECTORY" not in arguments


def _inside(path: str, root: Path) -> str:
    """Relative to the campaign; empty for what lies elsewhere. Processes run beside it."""
    found = Path(normpath(root.parent / path))
    return found.relative_to(root).as_posix() if found.is_relative_to(root) else ""


def _hashes(layout: Layout, entries: Sequence[Entry]) -> Mapping[str, set[str]]:
    """file → what it may be called among the inputs of a step: by its contents, or as part of a
    policy."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        folder = f"rounds/{entry.round:02d}/{entry.step}-{entry.fingerprint[:FINGERPRINT_SHOWN]}"
        for name, contents in entry.outputs.items():
            names = {contents}
            if name.startswith("policy/"):
                names.add(entry.facts["policy"])
            found[f"{folder}/{name}"] = names
            # By which whoever reads a file checks that it is whole.
            found.setdefault(f"{folder}/{MANIFEST}", set()).update(names)
    return found
