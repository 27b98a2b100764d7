"""Preferences in TRL's format: `prompt`, `chosen`, `rejected`, each text or chat messages.

Also reads conversations without a prompt column, whose prompt is all but the last message;
`question` or `instruction` in place of `prompt`; a `system` text; and the columns that
`ratchet export` adds.
"""

from collections.abc import Mapping

from labeling.exchange.formats.messages import parse_messages, split_answer
from labeling.exchange.imported_pair import (
    ImportedPair,
    Messages,
    UndecidedRow,
    UnreadableRow,
    as_messages,
    as_text,
    check_pair,
)

_PROMPTS = ("prompt", "question", "instruction")


def fits(row: Mapping[str, object]) -> bool:
    return "chosen" in row and "rejected" in row


def read(row: Mapping[str, object]) -> ImportedPair | UndecidedRow:
    """The answers after the shared conversation. Raises UnreadableRow."""
    before, chosen = split_answer(row["chosen"], "chosen")
    before_rejected, rejected = split_answer(row["rejected"], "rejected")
    if before != before_rejected:
        raise UnreadableRow("chosen and rejected answer different conversations")
    prompt = _with_system(_prompt(_given(row), before), row.get("system"))
    if row.get("plain") is True:
        prompt = as_text(prompt)
    p_chosen = _p_chosen(row)
    if p_chosen == 0.5:
        return UndecidedRow("tie")
    agreement = _share(row, "agreement")
    return check_pair(ImportedPair(prompt, chosen, rejected, p_chosen, _sources(row), agreement))


def _given(row: Mapping[str, object]) -> str | Messages | None:
    given = next((row[name] for name in _PROMPTS if row.get(name) is not None), None)
    return given if given is None or isinstance(given, str) else parse_messages(given, "prompt")


def _prompt(given: str | Messages | None, before: Messages) -> str | Messages:
    """The prompt; the messages `before` the answers may repeat or continue it."""
    if given is None:
        if not before:
            raise UnreadableRow("the row has no prompt")
        prompt: str | Messages = before
    elif not before:
        prompt = given
    elif isinstance(given, str):
        if given.strip() not in (m["content"].strip() for m in before):
            raise UnreadableRow("the conversation before the answers does not hold the prompt")
        prompt = before
    else:
        prompt = before if before[: len(given)] == given else (*given, *before)
    if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
        raise UnreadableRow("the prompt ends with a message of the assistant")
    return prompt


def _with_system(prompt: str | Messages, system: object) -> str | Messages:
    if system is None or system == "":
        return prompt
    if not isinstance(system, str):
        raise UnreadableRow("system is not text")
    messages = as_messages(prompt)
    assert not isinstance(messages, str), "chat makes messages"
    if messages[0]["role"] == "system":
        return prompt
    return ({"role": "system", "content": system}, *messages)


def _p_chosen(row: Mapping[str, object]) -> float:
    value = _share(row, "p_chosen")
    if value is not None and value < 0.5:
        raise UnreadableRow(f"p_chosen {value:g} means that the rejected answer is better")
    return 1.0 if value is None else value


def _share(row: Mapping[str, object], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UnreadableRow(f"{name} must be a number from 0 to 1, found {value!r}")
    return float(value)


def _sources(row: Mapping[str, object]) -> tuple[str, ...]:
    value = row.get("sources")
    if not isinstance(value, list) or not all(isinstance(source, str) for source in value):
        return ()
    return tuple(value)
