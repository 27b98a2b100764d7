"""Judges that read what an answer itself says of its worth: `worth 3 …`."""

from collections.abc import Sequence

from dpo_core.records import Completion, Pair, Verdict


def worth(completions: Sequence[Completion]) -> list[float | None]:
    return [_worth(c.text) for c in completions]


def length(completions: Sequence[Completion]) -> list[float | None]:
    return [float(c.tokens) for c in completions]


def echo(completions: Sequence[Completion]) -> list[float | None]:
    """Words of the prompt that the answer has."""
    return [float(len(_words(c.text) & _words(c.prompt.text or ""))) for c in completions]


def repeats(completions: Sequence[Completion]) -> list[float | None]:
    """How little is said that was not said before."""
    return [-len(_words(c.text)) / c.tokens for c in completions]


def better(pairs: Sequence[Pair]) -> list[Verdict | None]:
    return [_verdict(_worth(pair.a.text), _worth(pair.b.text)) for pair in pairs]


def longer(pairs: Sequence[Pair]) -> list[Verdict | None]:
    return [_verdict(float(pair.a.tokens), float(pair.b.tokens)) for pair in pairs]


def first_of_all(pairs: Sequence[Pair]) -> list[Verdict]:
    """Whatever stands first."""
    return ["a" for _ in pairs]


def _worth(text: str) -> float | None:
    """None for an answer that does not say."""
    words = text.split()
    return float(words[1]) if words[:1] == ["worth"] else None


def _verdict(a: float | None, b: float | None) -> Verdict | None:
    if a is None or b is None:
        return None
    return "tie" if a == b else "a" if a > b else "b"


def _words(text: str) -> set[str]:
    return set(text.split())
