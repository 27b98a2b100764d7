"""Rows of exported preferences for TRL, Axolotl and LLaMA-Factory."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dpo_core.errors import LabelsError
from dpo_core.records import Prompt
from labeling.exchange.imported_pair import as_messages

ExportFormat = Literal["conversational", "standard"]

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_MESSAGES = pa.list_(_MESSAGE)
_LABEL_COLUMNS = [
    ("p_chosen", pa.float64()),
    ("agreement", pa.float64()),
    ("sources", pa.list_(pa.string())),
    ("round", pa.int32()),
    ("pair_id", pa.string()),
]
CONVERSATIONAL = pa.schema(
    [
        ("prompt", _MESSAGES),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        *_LABEL_COLUMNS,
        ("plain", pa.bool_()),  # whether the prompt was plain text in the campaign
    ]
)
STANDARD = pa.schema(
    [("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string()), *_LABEL_COLUMNS]
)
RANKING = pa.schema([("prompt", _MESSAGES), ("chosen", _MESSAGE), ("rejected", _MESSAGE)])
"""LLaMA-Factory's schema: an answer is one message, not a list of one."""


@dataclass(frozen=True)
class ExportedPair:
    """One preference with its texts and its round."""

    prompt: Prompt
    chosen: str
    rejected: str
    p_chosen: float
    agreement: float | None
    sources: tuple[str, ...]
    round: int
    pair_id: str


def exported_row(pair: ExportedPair, format: ExportFormat) -> dict[str, object]:
    """The row of schema CONVERSATIONAL or STANDARD for `pair`.

    In the conversational format a plain prompt becomes one user message. Raises LabelsError for a
    chat prompt in the standard format.
    """
    labels = {name: getattr(pair, name) for name, _ in _LABEL_COLUMNS} | {
        "sources": list(pair.sources)
    }
    if format == "conversational":
        return {
            "prompt": _messages(pair.prompt),
            "chosen": [_answer(pair.chosen)],
            "rejected": [_answer(pair.rejected)],
            **labels,
            "plain": pair.prompt.text is not None,
        }
    if pair.prompt.text is None:
        raise LabelsError(
            "the campaign's prompts are chat messages, which the standard format cannot hold",
            "Omit --format standard.",
        )
    return {"prompt": pair.prompt.text, "chosen": pair.chosen, "rejected": pair.rejected, **labels}


def ranking_row(pair: ExportedPair) -> dict[str, object]:
    """The row of schema RANKING for `pair`."""
    answers = {"chosen": _answer(pair.chosen), "rejected": _answer(pair.rejected)}
    return {"prompt": _messages(pair.prompt), **answers}


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    if prompt.messages is not None:
        return [dict(message) for message in prompt.messages]
    return [dict(m) for m in as_messages(prompt.text or "") if not isinstance(m, str)]


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
