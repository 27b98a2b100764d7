"""Texts as annotators see them. Prompts and completions are data: nothing in them acts or vanishes.

Argilla renders markdown and takes dangerous HTML out, so that a tag that a model wrote would be
missing from the page without a word. Outside of code, therefore, `<` and `&` are escaped; an image
becomes a link, since a browser would fetch its address unasked. Control characters become their
pictures. The markdown itself is left to work: headings, lists and code look as the model meant.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

MESSAGE_CHARACTERS = 20_000
"""Argilla refuses longer messages in a chat, and more than MESSAGES of them."""

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
    """`text` with line ends as "\\n" and no character that a page or a database cannot hold."""
    text = text.replace("\r\n", "\n").translate(_PICTURES)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def as_chat(messages: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """(role, content) of messages as Argilla takes them: a long one goes on in the next."""
    parts = [
        (visible(message["role"])[:ROLE_CHARACTERS] or "user", part)
        for message in messages
        for part in _parts(as_markdown(message["content"]))
    ]
    if len(parts) <= MESSAGES:
        return tuple(parts)
    left = len(parts) - MESSAGES + 1
    return (*parts[: MESSAGES - 1], ("note", f"*({left} more messages, too many to show)*"))


def _parts(text: str) -> Iterator[str]:
    for start in range(0, len(text), MESSAGE_CHARACTERS):
        yield text[start : start + MESSAGE_CHARACTERS]


def _escaped(lines: Sequence[str]) -> Iterator[str]:
    fence = ""
    for line in lines:
        found = _FENCE.match(line)
        if fence:
            yield line
            if found and found[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
        elif found:
            fence = found[1]
            yield line
        else:
            yield _escaped_line(line)


def _escaped_line(line: str) -> str:
    pieces, end = [], 0
    for code in _CODE_SPAN.finditer(line):
        pieces += [_SWALLOWED.sub(_escape, line[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*pieces, _SWALLOWED.sub(_escape, line[end:])])


def _escape(found: re.Match[str]) -> str:
    # What is left is the beginning of a link's definition, which no page shows.
    return _ESCAPES.get(found[0], f"{found[0]}\\")
