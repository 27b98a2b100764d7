"""Text for screens: counts in sentences, escaped control characters, JSON for people."""

import json
import re
import unicodedata
from typing import Any

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, format characters, lone surrogates, line separators."""

_NOT_PLAIN = re.compile(r"[^\n\t\u200c\u200d\x20-\x7e]")


def counted(count: int, what: str) -> str:
    """`1 round`, `2 rounds`: a count with its noun in the singular, whose plural ends in s."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def visible(text: str) -> str:
    """Replace characters that could control a terminal by their code points, as in ⟨U+001B⟩.

    These are controls (NUL, ANSI escapes), bidirectional overrides, invisible characters and lone
    surrogates. Newlines and tabs stay.
    """
    return _NOT_PLAIN.sub(_visible_form, text)


def printed_json(data: Any) -> str:
    """JSON with non-ASCII letters unescaped, and terminal control characters as JSON escapes."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    return _NOT_PLAIN.sub(_json_escape, text)


def _json_escape(match: "re.Match[str]") -> str:
    character = match.group()
    if unicodedata.category(character) not in _ACTING:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else json.dumps(character)[1:-1]


def _visible_form(match: "re.Match[str]") -> str:
    character = match.group()
    code = ord(character)
    if unicodedata.category(character) in _ACTING:
        return f"⟨U+{code:04X}⟩"
    return character
