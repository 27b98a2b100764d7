"""Texts as annotators see them: prompts and completions are data, so nothing in them acts or is
lost.

Argilla renders markdown and removes unsafe HTML, so a tag written by a model would silently
disappear. Outside of code, `<` and `&` are therefore escaped, and an image becomes a link, since a
browser would fetch it. Control characters become visible pictures. Markdown still works: headings,
lists and code look as the model intended.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

MESSAGE_CHARACTERS = 20_000
"""Argilla's limit for a chat message; its limit for their number is MESSAGES."""

MESSAGES = 500
ROLE_CHARACTERS = 20

EMPTY = "*(empty)*"

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_SWALLOWED = re.compile(r"&(?=#?\w+;)|<|!(?=\[)|^( {0,3})(?=\[[^\]]+\]:)")
_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {
    0x7F: 0x2421
}
_ESCAPES = {"&": "&amp;", "<": "&lt;", "!": "&#33;"}


def as_markdown(text: str) -> str:
    """`text` as markdown that shows all of it."""
    if not text.strip():
        return EMPTY
    lines = visible(text).split("\n")
    return "\n".join(_escaped(lines))


def visible(text: str) -> str:
    """`text` with "\\n" line ends, visible control characters and no lone surrogates."""
    text = text.replace("\r\n", "\n").translate(_PICTURES)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_chat(messages: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """(role, content) of messages within Argilla's limits; a long message continues in the next."""
    parts = [
        (visible(message["role"])[:ROLE_CHARACTERS] or "user", part)
        for message in messages
        for part in _parts(as_markdown(message["content"]))
    ]
    if len(parts) <= MESSAGES:
        return tuple(parts)
    hidden = len(parts) - MESSAGES + 1
    return (*parts[: MESSAGES - 1], ("note", f"*({hidden} more messages, too many to show)*"))


def _parts(text: str) -> Iterator[str]:
    for start in range(0, len(text), MESSAGE_CHARACTERS):
        yield text[start : start + MESSAGE_CHARACTERS]


def _escaped(lines: Sequence[str]) -> Iterator[str]:
    fence = ""
    for line in lines:
        match = _FENCE.match(line)
        if fence:
            yield line
            if match and match[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif match:
            fence = match[1]
            yield line
        else:
            yield _escaped_line(line)


def _escaped_line(line: str) -> str:
    pieces, end = [], 0
    for code in _CODE_SPAN.finditer(line):
        pieces += [_SWALLOWED.sub(_escape, line[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*pieces, _SWALLOWED.sub(_escape, line[end:])])


def _escape(match: re.Match[str]) -> str:
    # Anything else is the start of a link definition, which markdown does not show.
    return _ESCAPES.get(match[0], f"{match[0]}\\")
