"""Commands in the fenced blocks of the docs, with what each block and line says it needs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"#.*\bneeds (?:a GPU|the network|a cluster|Docker|root|an hour)\b")
BEGINNINGS = ("ratchet", "make", "python", "pip")


@dataclass(frozen=True)
class Documented:
    """A command as it is typed. marked: it says what it needs that no test has."""

    page: Path
    words: tuple[str, ...]
    marked: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def commands(page: Path) -> Iterator[Documented]:
    """Commands of one page. A marker in a comment line holds for the rest of its block."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        block_marked = False
        for line in block.replace("\\\n", " ").splitlines():
            marked = bool(NEEDS.search(line))
            block_marked |= marked and line.startswith("#")
            for words in _split(line):
                if words and Path(words[0]).name in BEGINNINGS:
                    name = Path(words[0]).name
                    yield Documented(page, (name, *words[1:]), marked or block_marked)


def _split(line: str) -> Iterator[list[str]]:
    """The commands that a line chains; what is piped or written to a file is left out."""
    inner = re.findall(r"\$\((.*?)\)", line)
    words = shlex.split(re.sub(r"\$\(.*?\)", "INNER", line), comments=True)
    words += [word for command in inner for word in ("&&", *shlex.split(command))]
    command: list[str] = []
    for word in [*words, "&&"]:
        if word in ("&&", "|", ">", "<", ";", "&"):
            yield command
            command = []
        else:
            command.append(word)
