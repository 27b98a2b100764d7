"""Encode a judge model's prompt so that data never becomes a control token."""

import re
from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from generation.judge_jobs import Message

_SLOT = re.compile("\ue000(\\d+)\ue001")


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, ask: bool
) -> list[int]:
    """Token ids of a conversation in the model's chat template, or of its plain texts without one.

    Data that spells a control token is encoded separately with that token split into pieces;
    otherwise the ids equal those of `apply_chat_template`.

    Args:
        ask: whether the model is to answer, so that the template opens its turn.
    """
    if tokenizer.chat_template is None:
        ids = list(tokenizer(_joined(messages), split_special_tokens=True)["input_ids"])
        return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids
    if not _holds_control_tokens(tokenizer, messages):
        return _plain(tokenizer, _rendered(tokenizer, [m.text for m in messages], messages, ask))
    data: list[str] = []

    def slotted(message: Message) -> str:
        pieces = []
        for text, is_data in message.parts:
            pieces.append(f"\ue000{len(data)}\ue001" if is_data else text)
            data.extend([text] if is_data else [])
        return "".join(pieces)

    pieces = _SLOT.split(_rendered(tokenizer, list(map(slotted, messages)), messages, ask))
    ids = []
    for number, piece in enumerate(pieces):  # template text and slot numbers alternate
        ids += _encode_data(tokenizer, data[int(piece)]) if number % 2 else _plain(tokenizer, piece)
    return ids


def _joined(messages: Sequence[Message]) -> str:
    """All texts as one, with a space between texts that have none."""
    joined = ""
    for message in messages:
        touch = joined and not joined[-1].isspace() and not message.text[:1].isspace()
        joined += (" " if touch else "") + message.text
    return joined


def _holds_control_tokens(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> bool:
    tokens: Mapping[str, int] = tokenizer.get_added_vocab()
    data = [text for message in messages for text, is_data in message.parts if is_data]
    return any(token in text for token in tokens for text in data)


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    messages: Sequence[Message],
    ask: bool,
) -> str:
    filled = [
        {"role": message.role, "content": text}
        for message, text in zip(messages, texts, strict=True)
    ]
    return str(tokenizer.apply_chat_template(filled, add_generation_prompt=ask, tokenize=False))


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _encode_data(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return list(encoded["input_ids"])
