"""Kinds of verifiable instruction: IFEval's names and arguments, worded here.

A kind draws its numbers and words at random and gives (what the prompt says, the checker's keyword
arguments).
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

Draw = Callable[[random.Random], tuple[str, dict[str, Any]]]

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_WORDS = (
    "morning", "careful", "always", "small", "together", "simple", "garden", "friend", "moment",
    "river", "bright", "window", "quiet", "market", "early", "winter",
)  # fmt: skip
_AVOIDED = ("very", "good", "make", "people", "time", "important", "also", "help", "new", "can")
_ENDINGS = (
    "That is all there is to it.",
    "I hope this helps.",
    "Is there anything else?",
    "Let me know how it goes.",
)


def _few_words(draw: random.Random) -> tuple[str, dict[str, Any]]:
    most = draw.choice((30, 40, 50, 60))
    said = draw.choice(("Answer in fewer than {} words.", "Use less than {} words."))
    return said.format(most), {"relation": "less than", "num_words": most}


def _no_comma(draw: random.Random) -> tuple[str, dict[str, Any]]:
    said = ("Do not use any commas.", "Your answer must not contain a comma.")
    return draw.choice(said), {}


def _title(draw: random.Random) -> tuple[str, dict[str, Any]]:
    said = (
        "Give your answer a title in double angular brackets, such as <<title>>.",
        "Begin with a title wrapped in double angular brackets, i.e. <<title>>.",
    )
    return draw.choice(said), {}


def _highlights(draw: random.Random) -> tuple[str, dict[str, Any]]:
    count = draw.choice((1, 2))
    parts = "one part" if count == 1 else "two parts"
    said = f"Highlight at least {parts} of your answer with markdown, i.e. *highlighted part*."
    return said, {"num_highlights": count}


def _postscript(draw: random.Random) -> tuple[str, dict[str, Any]]:
    said = (
        "At the end, add a postscript that starts with P.S.",
        "Finish with a postscript beginning with P.S.",
    )
    return draw.choice(said), {"postscript_marker": "P.S."}


def _bullets(draw: random.Random) -> tuple[str, dict[str, Any]]:
    count = draw.choice((2, 3, 4))
    said = f"Answer with exactly {_NUMBERS[count]} bullet points in markdown, i.e. * a point."
    return said, {"num_bullets": count}


def _lowercase(draw: random.Random) -> tuple[str, dict[str, Any]]:
    said = ("Write everything in lowercase letters.", "Do not use any capital letters.")
    return draw.choice(said), {}


def _quoted(draw: random.Random) -> tuple[str, dict[str, Any]]:
    return "Wrap your whole answer in double quotation marks.", {}


def _ending(draw: random.Random) -> tuple[str, dict[str, Any]]:
    ending = draw.choice(_ENDINGS)
    return f'End with exactly this sentence: "{ending}"', {"end_phrase": ending}


def _json(draw: random.Random) -> tuple[str, dict[str, Any]]:
    return "Give the whole answer as JSON.", {}


def _repeated(draw: random.Random) -> tuple[str, dict[str, Any]]:
    word, count = draw.choice(_WORDS), draw.choice((2, 3))
    said = f'Use the word "{word}" at least {_NUMBERS[count]} times.'
    return said, {"relation": "at least", "keyword": word, "frequency": count}


def _keywords(draw: random.Random) -> tuple[str, dict[str, Any]]:
    words = draw.sample(_WORDS, 2)
    return f'Use the words "{words[0]}" and "{words[1]}".', {"keywords": words}


def _forbidden(draw: random.Random) -> tuple[str, dict[str, Any]]:
    words = draw.sample(_AVOIDED, 3)
    said = f'Do not use the words "{words[0]}", "{words[1]}" or "{words[2]}".'
    return said, {"forbidden_words": words}


MIDDLE: Mapping[str, Draw] = {
    "length_constraints:number_words": _few_words,
    "punctuation:no_comma": _no_comma,
    "detectable_format:title": _title,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
}
"""Those that a small chat model follows now and then: they give pairs."""

HARD: Mapping[str, Draw] = {
    "change_case:english_lowercase": _lowercase,
    "startend:quotation": _quoted,
    "startend:end_checker": _ending,
    "detectable_format:json_format": _json,
    "keywords:frequency": _repeated,
}
"""Those that it hardly ever follows: all its answers are equally wrong."""

OF_THE_WHOLE = {"startend:quotation", "detectable_format:json_format"}
"""Those of them that leave no room for another."""

UNSEEN: Mapping[str, Draw] = {
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _forbidden,
}
"""Those that no policy is trained on."""
