"""What the code may say is wrong: every message that it spells, as a pattern, and where."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Site:
    """A place that says something: `what` is wrong and the `remedy`, as regular expressions."""

    where: str
    call: str
    what: str
    remedy: str

    def says(self, what: str, remedy: str = "") -> bool:
        return bool(re.search(self.what, what) and re.search(self.remedy, remedy))


def raised(folder: Path) -> Iterator[Site]:
    """Every `raise Error(message, remedy)` below a folder."""
    for path, tree in _trees(folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                yield _site(path, node.exc, message=0, remedy=1)


def found(folder: Path) -> Iterator[Site]:
    """Every `problem(check, what, where, remedy)` and `note(…)` below a folder."""
    for path, tree in _trees(folder):
        for node in ast.walk(tree):
            # `make`: one of both, by a condition
            if isinstance(node, ast.Call) and _name(node) in ("problem", "note", "make"):
                yield _site(path, node, message=1, remedy=3)


def _trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def _site(path: Path, call: ast.Call, message: int, remedy: int) -> Site:
    where = f"{path.relative_to(ROOT)}:{call.lineno}"
    args = [*map(_pattern, call.args), *[""] * 4]
    return Site(where, _name(call), args[message], args[remedy])


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _pattern(node: ast.expr) -> str:
    """A regular expression for what an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(map(_pattern, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _pattern(left) + _pattern(right)
    return r"(?:.|\n)*"
