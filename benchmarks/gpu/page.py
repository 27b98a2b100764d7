"""The dated page, made of the results file alone: `python -m benchmarks.gpu.page RESULTS`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.gpu.checks import CHECKS
from benchmarks.gpu.results import (
    Comparison,
    Ending,
    Failure,
    Figure,
    Line,
    Machine,
    read,
)


def failed(lines: Sequence[Line]) -> bool:
    """Whether any check failed: by a bound, an error, or because it did not end."""
    return bool(list(_failures(lines)))


def write_page(results: Path) -> Path:
    """Beside the results, under their name."""
    path = results.with_suffix(".md")
    path.write_text(page(read(results), results.name), encoding="utf-8")
    return path


def page(lines: Sequence[Line], source: str) -> str:
    """What holds, what failed and what was not reached; then each check's numbers.

    source: name of the results file, which holds the tracebacks as well.
    """
    [machine] = [line for line in lines if isinstance(line, Machine)]
    facts = machine.facts
    compared = [line for line in lines if isinstance(line, Comparison)]
    holding = sum(line.holds for line in compared)
    dry = facts["run on"] == "cpu"
    parts = [
        f"# {'Dry run of the checks for a GPU' if dry else 'On a GPU'} ({facts['at'][:10]})",
        f"{facts['device']}, commit {facts['commit'] or 'unknown'}; `python -m benchmarks.gpu`, at "
        f"{facts['at']}. {holding} of {len(compared)} comparisons hold. All of it, with "
        f"tracebacks: [{source}]({source}).",
        "Models are tiny and on the CPU: its figures say nothing of a GPU." if dry else "",
        _listed("Failed", [f"**{what}**: {why}" for what, why in _failures(lines)]),
        _listed("Not reached", list(_unreached(lines))),
        *_checks(lines),
        "## Machine\n\n" + _table(["", ""], [[k, str(v)] for k, v in facts.items()]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _failures(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """(check and what, why) of each."""
    for line in lines:
        if isinstance(line, Comparison) and not line.holds:
            wanted = "less" if line.least else "more"
            why = f"{_number(line.found)} is {wanted} than {_number(line.bound)}"
            yield f"{line.check}: {line.what}", why
        elif isinstance(line, Failure):
            yield f"{line.check}: {line.what}", f"`{line.error}`"


def _unreached(lines: Sequence[Line]) -> Iterator[str]:
    endings = {line.check: line for line in lines if isinstance(line, Ending)}
    for name in _names(lines):
        if name not in endings:
            yield f"{name}: the run ended within it"
        elif endings[name].how == "cut off":
            yield f"{name}: the time was up after {endings[name].seconds:.0f} s of it"
        elif endings[name].how == "not reached":
            yield name


def _names(lines: Sequence[Line]) -> list[str]:
    """The checks, in the order in which they ran."""
    return list(dict.fromkeys(line.check for line in lines if not isinstance(line, Machine)))


def _checks(lines: Sequence[Line]) -> Iterator[str]:
    """A section for each check of which anything is known."""
    seconds = {line.check: line.seconds for line in lines if isinstance(line, Ending)}
    for name in _names(lines):
        title = CHECKS[name].title if name in CHECKS else name
        took = f", {seconds[name]:.0f} s" if name in seconds else ""
        compared = [
            [line.what, _number(line.found), _bound(line), "holds" if line.holds else "**fails**"]
            for line in lines
            if isinstance(line, Comparison) and line.check == name
        ]
        told = [
            [line.what, f"{line.value:,.4g} {line.unit}".strip()]
            for line in lines
            if isinstance(line, Figure) and line.check == name
        ]
        if compared or told:
            yield f"## {title}\n\n`{name}`{took}."
        if compared:
            yield _table(["compared", "found", "allowed", ""], compared)
        if told:
            yield _table(["measured", ""], told)


def _bound(line: Comparison) -> str:
    return f"{'at least ' if line.least else ''}{_number(line.bound)}"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _listed(title: str, items: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items) if items else ""


if __name__ == "__main__":
    print(write_page(Path(sys.argv[1])))
