"""What checks find, a JSON line each, written the moment it is known: a crash loses nothing.

The file is all that the page is made of (`page`), and what the next run on a GPU starts from.
"""

import gc
import json
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

_ROOT = Path(__file__).parents[2]
_TRACE_LINES, _LONGEST = 40, 300


@dataclass(frozen=True)
class Machine:
    """What the figures belong to, and with which command they came."""

    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A number that has a bound: at most `bound`, or at least that (`least`)."""

    check: str
    what: str
    found: float
    bound: float
    least: bool = False

    @property
    def holds(self) -> bool:
        """A NaN holds nothing."""
        return self.found >= self.bound if self.least else self.found <= self.bound


@dataclass(frozen=True)
class Figure:
    """A number that is only told."""

    check: str
    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Failure:
    """An error: its own line, and where it came from."""

    check: str
    what: str
    error: str
    trace: str = ""

    @classmethod
    def of(cls, check: str, what: str, text: str, trace: str) -> "Failure":
        """The first line of an error's text (CUDA's own go on with advice), and the last lines of
        its traceback; neither names this machine's folders."""
        first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
        last = "\n".join(trace.splitlines()[-_TRACE_LINES:])
        return cls(check, what, _without_folders(first[:_LONGEST]), _without_folders(last))


def _without_folders(text: str) -> str:
    text = re.sub(r"[^\s\"'(]*/(?:site-packages|lib/python3\.\d+)/", "", text)
    return text.replace(f"{_ROOT}/", "").replace(str(Path.home()), "~")


How = Literal["ended", "timed out", "cut off", "not reached"]


@dataclass(frozen=True)
class Ending:
    """How a check ended: by itself, at its own limit, at that of the run, or never begun."""

    check: str
    how: How
    seconds: float = 0.0


Line = Machine | Comparison | Figure | Failure | Ending
_KINDS: dict[str, type[Line]] = {
    kind.__name__: kind for kind in (Machine, Comparison, Figure, Failure, Ending)
}


def append(results: Path, line: Line) -> None:
    """Add a line that is on the disk when this returns."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps({type(line).__name__: asdict(line)}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(results: Path) -> list[Line]:
    """All lines but one that a crash tore."""
    lines: list[Line] = []
    for text in results.read_text(encoding="utf-8").splitlines():
        try:
            [(kind, values)] = json.loads(text).items()
        except json.JSONDecodeError:
            continue
        lines.append(_KINDS[kind](**values))
    return lines


class Bench:
    """What a check is given: a device, a folder of its own, and where its results go.

    On a CPU everything is tiny: it shows that the checks run, and nothing else.
    """

    def __init__(self, check: str, device: str, results: Path, folder: Path) -> None:
        self.check = check
        self.device = device
        self.results = results
        self.folder = folder
        self.failures = 0

    @property
    def tiny(self) -> bool:
        return self.device == "cpu"

    def at_most(self, what: str, found: float, bound: float) -> None:
        append(self.results, Comparison(self.check, what, found, bound))

    def at_least(self, what: str, found: float, bound: float) -> None:
        append(self.results, Comparison(self.check, what, found, bound, least=True))

    def figure(self, what: str, value: float, unit: str) -> None:
        append(self.results, Figure(self.check, what, value, unit))

    def settle(self) -> None:
        """Wait for the device, so that its errors belong to what ran until now, and free it."""
        gc.collect()
        if not self.tiny:
            import torch

            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.use_deterministic_algorithms(False)  # which training alone asks for

    def takes_fast_pass(self, path: str, why_not: str) -> None:
        """Record a failure with the reason where a round took the plain pass."""
        with self.trying("the fast pass"):
            if path != "fast":
                raise RuntimeError(why_not)

    @contextmanager
    def trying(self, what: str) -> Iterator[None]:
        """An error within is recorded, and what follows goes on."""
        try:
            yield
        except (Exception, SystemExit) as error:  # a benchmark's child ends its program
            self.failures += 1
            trace = "".join(traceback.format_exception(error))
            failure = Failure.of(self.check, what, f"{type(error).__name__}: {error}", trace)
            append(self.results, failure)
