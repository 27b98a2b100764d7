"""What the cards of data sets and of models share: text that stays text, and the hub's head."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from dpo_core.errors import BadInput

_MARKS = re.compile(r"([\\`*_\[\]~|#!$])")
"""What begins a mark of markdown inside a line; `<` and `&` become entities."""


def escape(text: str) -> str:
    """A text on one line in which nothing is a mark, a tag, a link, or the end of its cell."""
    return _MARKS.sub(r"\\\1", cell_text(text).replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """The same as code, for names: in it only backquotes and the ends of cells act."""
    return f"`{cell_text(text).replace('`', chr(0x2019)).replace('|', chr(0x2223))}`"


def cell_text(text: str) -> str:
    return " ".join(text.split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows whose cells are markdown already; empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|" + "---|" * len(header)
    return "\n".join([f"| {' | '.join(header)} |", rule, *lines]) if lines else ""


def front_matter(head: Mapping[str, Any]) -> str:
    """What the hub reads at the beginning of a card."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---\n"


def check_licence(licence: str) -> None:
    """Raise BadInput for what cannot be a licence of the hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise BadInput(
            f"--licence {licence!r} is no name of the hub's list",
            "For example apache-2.0, cc-by-4.0, other or unknown.",
        )
