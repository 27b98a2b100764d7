"""Calculator annotations (`48/2=24`) checked by a parser of school arithmetic, in exact fractions.

What stands in an annotation was written by a model. It is read as

    expression = term {("+" | "-") term}
    term       = factor {("*" | "/") factor}
    factor     = ("+" | "-") factor | "(" expression ")" | number

and anything else (names, calls, powers) is not arithmetic. Length and depth are bounded and nothing
grows faster than its digits, so no text costs more than a few microseconds per character.
"""

import re
from fractions import Fraction

MAX_LENGTH = 200
"""Characters on either side of the equals sign; GSM8K's longest annotation has 36."""

MAX_DEPTH = 20
"""Nested parentheses and signs; GSM8K's annotations nest at most two."""

ROUNDED_DECIMALS = 2
"""Decimals from which on a value may be rounded.

All 23,716 annotations of GSM8K's train.jsonl are exact, none an endless decimal, so integers
and tenths get no tolerance: 7/2=4 is wrong. A third has no exact decimal; 664 of the data's 898
decimal values have two places, so two places or more may round: 10/3=3.33 is right, 10/3=3.3 not.
"""

_TOKEN = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+|[-+*/()])")
_VALUE = re.compile(r"\s*(-?)([0-9]*)(?:\.([0-9]*))?\s*")


class NotArithmetic(ValueError):
    """The text is no arithmetic expression, or one without a value."""


def is_right(annotation: str) -> bool:
    """Whether `expression=value` holds; False, too, for whatever cannot be read."""
    expression, _, written = annotation.rpartition("=")
    try:
        value, tolerance = _value(written)
        return abs(evaluate(expression) - value) <= tolerance
    except NotArithmetic:
        return False


def evaluate(expression: str) -> Fraction:
    """The exact value of `expression`. Raises NotArithmetic when it has none."""
    return _Parser(_tokens(expression)).whole()


def _value(written: str) -> tuple[Fraction, Fraction]:
    """(value, tolerance) of a decimal number: half a unit of its last place where it may round."""
    found = _VALUE.fullmatch(_bounded(written))
    if found is None or not (found[2] or found[3]):
        raise NotArithmetic(f"no number: {written[:40]!r}")
    decimals = len(found[3] or "")
    value = Fraction(int((found[2] or "0") + (found[3] or "")), 10**decimals)
    tolerance = Fraction(1, 2 * 10**decimals) if decimals >= ROUNDED_DECIMALS else Fraction(0)
    return (-value if found[1] else value), tolerance


def _bounded(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise NotArithmetic(f"longer than {MAX_LENGTH} characters")
    return text


def _tokens(expression: str) -> list[str]:
    tokens, position, text = [], 0, _bounded(expression).rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise NotArithmetic(f"unexpected {text[position]!r}")
        tokens.append(found[1])
        position = found.end()
    return tokens


class _Parser:
    """Recursive descent over tokens, one method per rule of the grammar above."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0

    def whole(self) -> Fraction:
        value = self._expression(0)
        if self._next() is not None:
            raise NotArithmetic(f"unexpected {self._next()!r}")
        return value

    def _next(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self, *wanted: str) -> str | None:
        token = self._next()
        if token not in wanted:
            return None
        self._position += 1
        return token

    def _expression(self, depth: int) -> Fraction:
        value = self._term(depth)
        while operator := self._take("+", "-"):
            term = self._term(depth)
            value = value + term if operator == "+" else value - term
        return value

    def _term(self, depth: int) -> Fraction:
        value = self._factor(depth)
        while operator := self._take("*", "/"):
            factor = self._factor(depth)
            if operator == "/" and factor == 0:
                raise NotArithmetic("division by zero")
            value = value * factor if operator == "*" else value / factor
        return value

    def _factor(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise NotArithmetic(f"nested deeper than {MAX_DEPTH}")
        if sign := self._take("+", "-"):
            value = self._factor(depth + 1)
            return -value if sign == "-" else value
        if self._take("("):
            value = self._expression(depth + 1)
            if not self._take(")"):
                raise NotArithmetic("missing )")
            return value
        return self._number()

    def _number(self) -> Fraction:
        token = self._next()
        if token is None or token[0] not in ".0123456789":
            raise NotArithmetic(f"expected a number, found {token!r}")
        self._position += 1
        return Fraction(token)
