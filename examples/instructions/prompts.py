"""Prompts: every request with every kind of instruction alone, and with some two at a time.

Rows of a prompt pool: `messages`, `group` (the request, so that with `split_by: group` held-out
requests are new ones), `tags` (the kinds), and as in IFEval `instruction_id_list` and `kwargs`.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from examples.instructions.kinds import HARD, MIDDLE, OF_THE_WHOLE, UNSEEN, Draw
from examples.instructions.requests import requests

Row = dict[str, Any]

TWOS = 2
"""Of each request, the prompts with two kinds of instruction: few, for a gate counts requests."""


def trained() -> Iterator[Row]:
    """Kinds that a small chat model follows now and then, each alone and some two at a time."""
    return _rows(MIDDLE, list(combinations(MIDDLE, 2)))


def everything() -> Iterator[Row]:
    """The same and the kinds that it hardly follows, alone and beside one of the others."""
    hard = [(easy, hard) for easy in MIDDLE for hard in HARD if hard not in OF_THE_WHOLE]
    return _rows({**MIDDLE, **HARD}, [*combinations(MIDDLE, 2), *hard])


def unseen() -> Iterator[Row]:
    """Kinds that are not among the others, one at a time."""
    return _rows(UNSEEN, [])


def _rows(kinds: Mapping[str, Draw], twos: Sequence[tuple[str, str]]) -> Iterator[Row]:
    for request in requests():
        chosen = random.Random(request).sample(twos, min(TWOS, len(twos)))
        for ids in (*((kind,) for kind in kinds), *chosen):
            draw = random.Random(f"{request} {ids}")
            drawn = [kinds[each](draw) for each in ids]
            yield {
                "messages": [
                    {"role": "user", "content": " ".join([request, *(said for said, _ in drawn)])}
                ],
                "group": request,
                "tags": [each.partition(":")[2] for each in ids],
                "instruction_id_list": list(ids),
                "kwargs": [arguments for _, arguments in drawn],
            }
