"""What a reply of a language model amounts to, read strictly: never guessed."""

import math
from collections.abc import Mapping, Sequence

_DECORATION = " \t*_`\"'.:"
_LABELS = ("verdict:", "score:", "answer:")


def chosen(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the last line of the reply is, and nothing else; None when it is none.

    A label such as "Verdict:" and Markdown around it are allowed, so that a rubric may ask for
    reasons first.
    """
    lines = [line for line in text.splitlines() if line.strip(_DECORATION)]
    if not lines:
        return None
    last = lines[-1].strip(_DECORATION).casefold()
    for label in _LABELS:
        last = last.removeprefix(label).strip(_DECORATION)
    return next((choice for choice in choices if choice.casefold() == last), None)


def probabilities(
    text: str, first_token: Mapping[str, float], choices: Sequence[str]
) -> dict[str, float] | None:
    """choice → its probability among the choices, from the log-probs of the first token.

    A token counts for the one choice that it may begin. None when the engine gave no log-probs,
    or when the reply holds more than its choice, since then its first token did not decide.
    """
    if text.strip().casefold() not in [choice.casefold() for choice in choices]:
        return None
    found = dict.fromkeys(choices, 0.0)
    for token, logp in first_token.items():
        begun = token.strip().casefold()
        fitting = [c for c in choices if begun and c.casefold().startswith(begun)]
        if len(fitting) == 1:
            found[fitting[0]] += _probability(logp)
    total = sum(found.values())
    return {choice: p / total for choice, p in found.items()} if total > 0 else None


def _probability(logp: float) -> float:
    """Of a log-prob; 0 for what is none, whatever a server sends in its place."""
    return math.exp(min(logp, 0.0)) if math.isfinite(logp) else 0.0
