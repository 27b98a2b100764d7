"""Prompts and answers are data: marked so that they can neither end their mark nor give orders.

Each text stands between tags that carry a mark made from the texts themselves: it is the same in
every run, and no text can contain it, since it would have to contain a hash of itself. Whatever a
chat template or a tokenizer might take for a control token (`<|im_end|>`, `</s>`, `[INST]`) or for
one of our tags gets an invisible space behind its first bracket; for readers nothing changes.
"""

import re
from collections.abc import Sequence

from dpo_core.hashing import digest
from labeling.judges.questions import QuestionPart

INVISIBLE_SPACE = "\u200b"
_MARK_HEX = 12
# What tokenizers call special is written like this, without white space: <…>, <|…|>, [NAME].
_LIKE_A_TOKEN = re.compile(r"<(?=[^\s<>]{1,64}>)|\[(?=/?[A-Za-z_]{2,24}\])|<(?=<[A-Z]+>>)")


def mark_of(texts: Sequence[str]) -> str:
    """A mark that none of `texts` contains."""
    salt = 0
    while (mark := digest("mark", salt, list(texts))[:_MARK_HEX]) in "\n".join(texts):
        salt += 1
    return mark


def harmless(text: str) -> str:
    """`text` without anything that reads like a control token or a tag."""
    return _LIKE_A_TOKEN.sub(lambda found: found[0] + INVISIBLE_SPACE, text)


def delimited(name: str, text: str, mark: str) -> tuple[QuestionPart, ...]:
    """`text` as data between the tags of `name` that carry `mark`."""
    return (
        QuestionPart(f"<{name}-{mark}>\n"),
        QuestionPart(harmless(text), data=True),
        QuestionPart(f"\n</{name}-{mark}>"),
    )
