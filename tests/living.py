"""Processes that a test started, whoever their parent is now.

They are known by a variable in their environment, which all that they start inherits.
"""

from pathlib import Path


def living(mark: str) -> dict[int, str]:
    """Pid → command line of every living process that has `mark` (NAME=VALUE) in its environment.

    Those that have ended and were not waited for have neither an environment nor a command line.
    """
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended meanwhile, or is not ours to read
            continue
        command = " ".join(words).strip()
        if marked and command:
            found[int(entry.name)] = command
    return found
