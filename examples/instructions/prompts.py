"""Prompts: every request with every kind of instruction, one or two at a time.

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


def trained() -> Iterator[Row]:
    """Kinds that a small chat model follows now and then, one or two at a time."""
    return _rows(MIDDLE, [*_single(MIDDLE), *combinations(MIDDLE, 2)])


def everything() -> Iterator[Row]:
    """The same and the kinds that it hardly follows, alone and beside one of the others."""
    mixed = [(easy, hard) for easy in MIDDLE for hard in HARD if hard not in OF_THE_WHOLE]
    both = {**MIDDLE, **HARD}
    return _rows(both, [*_single(both), *combinations(MIDDLE, 2), *mixed])


def unseen() -> Iterator[Row]:
    """Kinds that are not among the others, one at a time."""
    return _rows(UNSEEN, _single(UNSEEN))


def _single(kinds: Mapping[str, Draw]) -> list[tuple[str, ...]]:
    return [(kind,) for kind in kinds]


def _rows(kinds: Mapping[str, Draw], chosen: Sequence[tuple[str, ...]]) -> Iterator[Row]:
    for request in requests():
        for ids in chosen:
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
