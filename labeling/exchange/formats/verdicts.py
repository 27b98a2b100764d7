"""Two answers and a verdict, as in a spreadsheet: columns `prompt`, `a`, `b`, `verdict`.

COLUMNS lists other known names of these columns; `--columns` maps any others.
"""

from collections.abc import Mapping

from dpo_core.errors import LabelsError
from labeling.exchange.imported_pair import ImportedPair, UndecidedRow, UnreadableRow, check_pair

COLUMNS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "instruction", "input"),
    "a": ("a", "answer_a", "response_a", "completion_a", "output_a", "answer_1", "response_1"),
    "b": ("b", "answer_b", "response_b", "completion_b", "output_b", "answer_2", "response_2"),
    "verdict": ("verdict", "winner", "preference", "preferred", "choice", "label"),
}
_VERDICTS = {
    "a": "a 1 answer_a response_a completion_a output_a answer_1 response_1 model_a",
    "b": "b 2 answer_b response_b completion_b output_b answer_2 response_2 model_b",
    "tie": "tie equal same draw",
    "both_bad": "both_bad both-bad neither tie_(bothbad)",
}
_MEANING = {word: verdict for verdict, words in _VERDICTS.items() for word in words.split()}


def fits(row: Mapping[str, object]) -> bool:
    return all(_column(row, name) is not None for name in COLUMNS)


def read(row: Mapping[str, object]) -> ImportedPair | UndecidedRow:
    """The answer that the verdict names against the other. Raises UnreadableRow."""
    prompt, a, b = (_text(row, name) for name in ("prompt", "a", "b"))
    verdict = _verdict(row[_column(row, "verdict") or ""])
    if verdict in ("tie", "both_bad"):
        return UndecidedRow(verdict)
    chosen, rejected = (a, b) if verdict == "a" else (b, a)
    return check_pair(ImportedPair(prompt, chosen, rejected))


def _text(row: Mapping[str, object], name: str) -> str:
    text = row[_column(row, name) or ""]
    if not isinstance(text, str):
        raise UnreadableRow(f"{name} is not text")
    return text


def _column(row: Mapping[str, object], name: str) -> str | None:
    """The row's column for `name`: the first of its known names."""
    by_name = {str(column).strip().lower().replace(" ", "_"): column for column in row}
    return next((by_name[known] for known in COLUMNS[name] if known in by_name), None)


def _verdict(written: object) -> str:
    word = "_".join(str("" if written is None else written).strip().lower().split())
    if word in ("0", "0.0"):
        # If verdicts are 0 and 1, 1 means b, and every 1 before this row was read wrongly.
        raise LabelsError(
            "a verdict is 0, so 1 may mean the first or the second answer",
            "Write the verdicts as a, b and tie.",
        )
    if word not in _MEANING:
        raise UnreadableRow(f"the verdict {written!r} is none of a, b, tie, both_bad, 1, 2")
    return _MEANING[word]
