"""Text for screens: counts in sentences, harmless characters, JSON that people read."""

import json
import re
import unicodedata
from typing import Any

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of controls, marks without a shape, lone surrogates, separators of lines."""

_NOT_PLAIN = re.compile(r"[^\n\t\u200c\u200d\x20-\x7e]")


def counted(count: int, what: str) -> str:
    """`1 round`, `2 rounds`; `what` in the singular, whose plural ends in s."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def visible(text: str) -> str:
    """`text` with every character that could act on a screen shown by number, as ⟨U+001B⟩.

    Controls (NUL, ANSI escapes), bidirectional overrides, invisible characters and lone
    surrogates; newlines and tabs stay.
    """
    return _NOT_PLAIN.sub(_shown, text)


def printed_json(data: Any) -> str:
    """JSON for people and programs: letters of all languages as they are, but what could act on a
    screen, in whichever text it is, as the escape that JSON has for it."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    return _NOT_PLAIN.sub(_json_escape, text)


def _json_escape(found: "re.Match[str]") -> str:
    character = found.group()
    if unicodedata.category(character) not in _ACTING:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else json.dumps(character)[1:-1]


def _shown(found: "re.Match[str]") -> str:
    character = found.group()
    code = ord(character)
    if unicodedata.category(character) in _ACTING:
        return f"⟨U+{code:04X}⟩"
    return character
