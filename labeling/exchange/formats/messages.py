"""Chat messages in the spellings of other tools."""

from collections.abc import Mapping, Sequence
from typing import Any

from labeling.exchange.imported_pair import Messages, UnreadableRow

ROLES = ("system", "user", "assistant", "tool")
_ROLE_NAMES = {"human": "user", "gpt": "assistant", "observation": "tool"}


def is_messages(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def parse_messages(value: Any, name: str) -> Messages:
    """Messages of {"role", "content"}, or of {"from", "value"}. Raises UnreadableRow."""
    if isinstance(value, Mapping):
        value = [value]
    if not is_messages(value) or not value:
        raise UnreadableRow(f"{name} must be text or a list of messages, found {_kind(value)}")
    return tuple(_message(message, f"{name} message {n}") for n, message in enumerate(value, 1))


def split_answer(value: Any, name: str) -> tuple[Messages, str]:
    """(messages before the answer, answer) of a conversation, or of an answer alone."""
    if isinstance(value, str):
        return (), value
    messages = parse_messages(value, name)
    if messages[-1]["role"] != "assistant":
        raise UnreadableRow(f"{name} ends with a message of the {messages[-1]['role']}")
    return messages[:-1], messages[-1]["content"]


def _message(message: Any, where: str) -> Mapping[str, str]:
    if not isinstance(message, Mapping):
        raise UnreadableRow(f"{where} must be a message, found {_kind(message)}")
    role = message.get("role", message.get("from"))
    role = _ROLE_NAMES.get(str(role), role)
    if role not in ROLES:
        raise UnreadableRow(f"{where} has the role {role!r}, not one of {', '.join(ROLES)}")
    if message.get("tool_calls"):
        raise UnreadableRow(f"{where} has tool calls, which text cannot represent")
    return {"role": role, "content": _content(message.get("content", message.get("value")), where)}


def _content(content: Any, where: str) -> str:
    """Text, or the concatenated text parts."""
    if isinstance(content, str):
        return content
    if not is_messages(content):
        raise UnreadableRow(f"{where} must have text, found {_kind(content)}")
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UnreadableRow(f"{where} has parts that are not text")
    return "".join(str(text) for text in texts)


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
