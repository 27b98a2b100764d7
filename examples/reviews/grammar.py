"""The grammar of short reviews with mixed sentiment: one side generates, the other accepts.

    review  = clause { joint clause } "."          two to five clauses
    clause  = "the" thing "was" degree quality     | "i" feeling "the" thing
            | "the" thing seemed quality "to me"
    joint   = "and" | "but" | "so" | "while"

Words are separated by one space; a quality or feeling is positive or negative, everything else is
neutral. A prompt is a first clause with its joint; the completion is the rest of the review.
"""

from collections.abc import Iterator
from itertools import product
from random import Random

THINGS = (
    "movie", "plot", "cast", "ending", "hotel", "room", "breakfast", "service",
    "phone", "screen", "battery", "book", "story", "song", "game", "price",
)  # fmt: skip
DEGREES = ("really", "quite", "rather", "very", "simply", "often")
GOOD_QUALITIES = (
    "great", "lovely", "charming", "brilliant", "fresh", "clever", "warm", "solid",
    "delightful", "superb",
)  # fmt: skip
BAD_QUALITIES = (
    "awful", "boring", "dull", "messy", "bland", "clumsy", "stale", "weak", "dreadful", "noisy",
)  # fmt: skip
GOOD_FEELINGS = ("loved", "enjoyed", "adored", "praised", "admired")
BAD_FEELINGS = ("hated", "disliked", "regretted", "skipped", "resented")
SEEMED = ("seemed", "felt", "looked")
JOINTS = ("and", "but", "so", "while")
END = "."

POSITIVE = frozenset(GOOD_QUALITIES + GOOD_FEELINGS)
NEGATIVE = frozenset(BAD_QUALITIES + BAD_FEELINGS)
QUALITIES = GOOD_QUALITIES + BAD_QUALITIES
FEELINGS = GOOD_FEELINGS + BAD_FEELINGS
FEWEST_CLAUSES, MOST_CLAUSES = 2, 5

_SHAPES: tuple[tuple[frozenset[str], ...], ...] = tuple(
    tuple(frozenset(words) for words in shape)
    for shape in (
        (("the",), THINGS, ("was",), DEGREES, QUALITIES),
        (("i",), FEELINGS, ("the",), THINGS),
        (("the",), THINGS, SEEMED, QUALITIES, ("to",), ("me",)),
    )
)
"""What may stand at each position of each form of a clause."""

_CLAUSE_WORDS = dict.fromkeys(word for shape in _SHAPES for at in shape for word in sorted(at))
WORDS = (*_CLAUSE_WORDS, *JOINTS, END)


def generate(random: Random) -> tuple[str, str]:
    """A random review as (prompt, completion): each clause is positive or negative, evenly."""
    clauses = [clause(random) for _ in range(random.randint(FEWEST_CLAUSES, MOST_CLAUSES))]
    joints = [random.choice(JOINTS) for _ in clauses[1:]]
    rest = [clauses[1]]
    for joint, following in zip(joints[1:], clauses[2:], strict=True):
        rest += [joint, following]
    return f"{clauses[0]} {joints[0]}", f"{' '.join(rest)} {END}"


def clause(random: Random) -> str:
    """A random clause of either sentiment."""
    good = random.random() < 0.5
    quality = random.choice(GOOD_QUALITIES if good else BAD_QUALITIES)
    feeling = random.choice(GOOD_FEELINGS if good else BAD_FEELINGS)
    thing = random.choice(THINGS)
    forms = (
        f"the {thing} was {random.choice(DEGREES)} {quality}",
        f"i {feeling} the {thing}",
        f"the {thing} {random.choice(SEEMED)} {quality} to me",
    )
    return random.choice(forms)


def accepts(text: str) -> bool:
    """Whether `text` is a complete review of the grammar."""
    words = text.split()
    if not words or words.pop() != END:
        return False
    position = clauses = 0
    while True:
        length = _clause_length(words, position)
        if length == 0:
            return False
        position += length
        clauses += 1
        if position == len(words):
            return FEWEST_CLAUSES <= clauses <= MOST_CLAUSES
        if words[position] not in JOINTS:
            return False
        position += 1


def _clause_length(words: list[str], start: int) -> int:
    """Words of the clause that begins at `start`, 0 when none does."""
    for shape in _SHAPES:
        found = words[start : start + len(shape)]
        pairs = zip(found, shape, strict=False)
        if len(found) == len(shape) and all(word in allowed for word, allowed in pairs):
            return len(shape)
    return 0


def prompts() -> Iterator[dict[str, str]]:
    """Every first clause with every joint, as rows of a prompt pool: 12,160 of them."""
    for joint in JOINTS:
        for first in _all_clauses():
            yield {"prompt": f"{first} {joint}"}


def _all_clauses() -> Iterator[str]:
    for thing, degree, quality in product(THINGS, DEGREES, QUALITIES):
        yield f"the {thing} was {degree} {quality}"
    for feeling, thing in product(FEELINGS, THINGS):
        yield f"i {feeling} the {thing}"
    for thing, verb, quality in product(THINGS, SEEMED, QUALITIES):
        yield f"the {thing} {verb} {quality} to me"


def reviews(seed: int, count: int = 60_000) -> Iterator[dict[str, str]]:
    """Random reviews for supervised training, as rows with `prompt` and `completion`."""
    random = Random(seed)
    for _ in range(count):
        prompt, completion = generate(random)
        yield {"prompt": prompt, "completion": completion}
