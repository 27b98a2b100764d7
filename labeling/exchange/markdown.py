"""Markdown shared by the cards of datasets and models: escaping, tables, front matter."""

import re
from collections.abc import Iterable, Mapping, Sequence

import yaml

from dpo_core.errors import BadInput

_MARKS = re.compile(r"([\\`*_\[\]~|#!$])")
"""Characters that can start markup inside a line; `<` and `&` become entities."""


def escape(text: str) -> str:
    """`text` on one line, escaped so that nothing in it is markup or ends a table cell."""
    return _MARKS.sub(r"\\\1", cell_text(text).replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """`text` on one line as inline code, with backquotes and `|` replaced by look-alikes."""
    return f"`{cell_text(text).replace('`', chr(0x2019)).replace('|', chr(0x2223))}`"


def cell_text(text: str) -> str:
    return " ".join(text.split())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markdown already; empty without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    rule = "|" + "---|" * len(header)
    return "\n".join([f"| {' | '.join(header)} |", rule, *lines]) if lines else ""


def front_matter(head: Mapping[str, object]) -> str:
    """YAML front matter, which the hub reads."""
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---\n"


def check_licence(licence: str) -> None:
    """Raise BadInput for anything that cannot be a licence on the hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        raise BadInput(
            f"--licence {licence!r} is not an identifier from the hub's list",
            "For example apache-2.0, cc-by-4.0, other or unknown.",
        )
