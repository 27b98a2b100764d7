"""Texts as annotators see them: nothing acts, nothing vanishes."""

import json

import pytest

from labeling.people.display import EMPTY, MESSAGE_CHARACTERS, MESSAGES, as_chat, as_markdown

CASES = {
    "plain": ("plain **bold** text", "plain **bold** text"),
    "tag": ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
    "comment": ("a <!-- hidden --> b", "a &lt;!-- hidden --> b"),
    "comparison": ("1 < 2 && 3 > 2", "1 &lt; 2 && 3 > 2"),
    "entity": ("write &lt; and &#39;", "write &amp;lt; and &amp;#39;"),
    "image": ("![x](http://evil/spy.png)", "&#33;[x](http://evil/spy.png)"),
    "link definition": ("[x]: http://evil", "\\[x]: http://evil"),
    "code span": ("use `<b>` and ``a`<i>`` <u>", "use `<b>` and ``a`<i>`` &lt;u>"),
    "open code span": ("an `open <b>", "an `open &lt;b>"),
    "fence": ("```html\n<b>&amp;\n```\n<b>", "```html\n<b>&amp;\n```\n&lt;b>"),
    "longer fence": ("````\n```\n<b>\n````\n<b>", "````\n```\n<b>\n````\n&lt;b>"),
    "controls": ("a\x00b\x1b[31m\x7f\r\nc\td", "a␀b␛[31m␡\nc\td"),
    "lone surrogate": ("a\ud800b", "a\ufffdb"),
    "pair of surrogates": ("\ud83d\ude00", "😀"),
    "empty": (" \n ", EMPTY),
}


@pytest.mark.parametrize("name", CASES)
def test_as_markdown(name: str) -> None:
    text, expected = CASES[name]
    assert as_markdown(text) == expected
    json.dumps(as_markdown(text), ensure_ascii=False).encode("utf-8")  # as it is sent


def test_long_lines_take_no_long_time() -> None:
    for text in ("x" * 100_000, "<" * 100_000, "`" * 99_999, "` `` " * 20_000, "[" * 100_000):
        assert len(as_markdown(text)) >= len(text)


def test_a_long_message_goes_on_in_the_next() -> None:
    text = "word " * 10_000
    parts = as_chat([{"role": "user", "content": text}, {"role": "a" * 30, "content": ""}])
    assert [role for role, _ in parts] == ["user"] * 3 + ["a" * 20]
    assert "".join(content for _, content in parts[:3]) == text
    assert max(len(content) for _, content in parts) == MESSAGE_CHARACTERS
    assert parts[3][1] == EMPTY


def test_too_many_messages_are_said_to_be() -> None:
    parts = as_chat([{"role": "user", "content": str(n)} for n in range(MESSAGES + 5)])
    assert len(parts) == MESSAGES
    assert parts[-2] == ("user", str(MESSAGES - 2))
    assert parts[-1] == ("note", "*(6 more messages, too many to show)*")
