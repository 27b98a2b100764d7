"""Transcripts as in Anthropic's HH data: chosen and rejected are dialogues
"\\n\\nHuman: …\\n\\nAssistant: …" that differ in the last answer."""

import re
from collections.abc import Mapping

from labeling.exchange.imported_pair import (
    ImportedPair,
    Messages,
    UndecidedRow,
    UnreadableRow,
    check_pair,
)

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def fits(row: Mapping[str, object]) -> bool:
    texts = (row.get("chosen"), row.get("rejected"))
    return "prompt" not in row and all(_is_transcript(text) for text in texts)


def read(row: Mapping[str, object]) -> ImportedPair | UndecidedRow:
    """Raises UnreadableRow for transcripts that differ before their last answers."""
    chosen, rejected = (_turns(str(row[name]), name) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise UnreadableRow("the transcripts differ before their last answers")
    pair = ImportedPair(chosen[:-1], chosen[-1]["content"], rejected[-1]["content"])
    return check_pair(pair)


def _is_transcript(text: object) -> bool:
    return isinstance(text, str) and text.lstrip().startswith("Human:")


def _turns(text: str, name: str) -> Messages:
    """The messages of a transcript, the last of them an answer."""
    _, *parts = _TURN.split(text.replace("\r\n", "\n").lstrip())
    turns = tuple(
        {"role": _ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    )
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or turns[-2]["role"] != "user":
        raise UnreadableRow(f"{name} does not end with a human turn and its answer")
    return turns
