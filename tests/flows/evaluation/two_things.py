"""A small chat task in which an answer belongs to its request: it speaks of the two things that
the request names."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from random import Random

from examples.reviews.grammar import DEGREES, QUALITIES, SEEMED, THINGS
from examples.reviews.model import build

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
"""Of a chat with one message, which names the things."""


def build_chat(out_dir: Path, seed: int) -> None:
    """The model of the demo, with a chat template."""
    from transformers import AutoTokenizer

    build(out_dir, seed, hidden_size=64, layers=2)
    tokenizer = AutoTokenizer.from_pretrained(out_dir)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(out_dir)


def requests() -> list[str]:
    """Every request, in an order as good as drawn."""
    found = [f"the {one} and the {other} ." for one, other in permutations(THINGS, 2)]
    Random(1).shuffle(found)
    return found


def answer(request: str, random: Random, *, shortly: bool = False) -> str:
    """What the base is trained to say; `shortly`: the shortest of it."""
    said = (_opinion(thing, random, shortly) for thing in things(request))
    return " and ".join(said) + " ."


def _opinion(thing: str, random: Random, shortly: bool) -> str:
    quality, form = random.choice(QUALITIES), 0 if shortly else random.randrange(3)
    forms = (
        f"the {thing} was {quality}",
        f"the {thing} was {random.choice(DEGREES)} {quality}",
        f"the {thing} {random.choice(SEEMED)} {quality} to me",
    )
    return forms[form]


def things(request: str) -> tuple[str, str]:
    words = request.split()
    return words[1], words[4]


def trained_on(seed: int) -> Iterator[dict[str, str]]:
    random, known = Random(seed), requests()
    for _ in range(6_000):
        request = random.choice(known)
        yield {"prompt": request, "completion": answer(request, random)}
