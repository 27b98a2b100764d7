"""Two answers as one text whose words are kept, deleted or inserted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from typing import Literal

WORDS = 1_000
"""Words and marks of an answer that are compared; the rest is shown as replaced."""

Change = Literal["kept", "deleted", "inserted"]


@dataclass(frozen=True)
class DiffPart:
    change: Change
    text: str


def diff_words(before: str, after: str) -> tuple[DiffPart, ...]:
    """What became of `before`, in the order of reading; deleted words stand before inserted ones.

    Example:
        >>> [(part.change, part.text) for part in diff_words("a dull film", "a fine film")]
        [('kept', 'a '), ('deleted', 'dull '), ('inserted', 'fine '), ('kept', 'film')]
    """
    parts = [part for part in _parts(before, after) if part.text]
    joined = groupby(parts, key=lambda part: part.change)
    return tuple(DiffPart(change, "".join(p.text for p in group)) for change, group in joined)


def _parts(before: str, after: str) -> Iterator[DiffPart]:
    old, new = _words(before), _words(after)
    # Words are the same whatever space follows them: else a word before a new comma would differ.
    first, second = ([word.rstrip() for word in words[:WORDS]] for words in (old, new))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    for same, i, j, k, m in matcher.get_opcodes():
        if same == "equal":
            yield DiffPart("kept", "".join(new[k:m]))
        else:
            yield DiffPart("deleted", "".join(old[i:j]))
            yield DiffPart("inserted", "".join(new[k:m]))
    yield DiffPart("deleted", "".join(old[WORDS:]))
    yield DiffPart("inserted", "".join(new[WORDS:]))


def _words(text: str) -> list[str]:
    """Words with the space that follows them, and marks."""
    return re.findall(r"\w+\s?|\s|[^\w\s]", text)
