"""A preference read from a third-party file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpo_core.records import ImportedRow, Prompt, imported_completion_id, pair_id, prompt_id

Messages = tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class ImportedPair:
    """A prompt with a better and a worse answer.

    prompt: text, or chat messages. p_chosen: probability that `chosen` is better. sources: who
    judged, if the row says. agreement: share of the sources that agree.
    """

    prompt: str | Messages
    chosen: str
    rejected: str
    p_chosen: float = 1.0
    sources: tuple[str, ...] = ()
    agreement: float | None = None


@dataclass(frozen=True)
class UndecidedRow:
    """A readable row without preference; why: `tie`, `both_bad`, `identical` or `unrated`."""

    why: str


class UnreadableRow(ValueError):
    """A row that cannot be read; the message says why."""


def check_pair(pair: ImportedPair) -> ImportedPair | UndecidedRow:
    """`pair`, or UndecidedRow for identical answers.

    Raises UnreadableRow for a text that is empty, holds NUL or is not valid Unicode.
    """
    for name, text in _texts(pair):
        if not text.strip():
            raise UnreadableRow(f"{name} is empty")
        if "\0" in text:
            raise UnreadableRow(f"{name} holds a NUL character")
        if not _is_unicode(text):
            raise UnreadableRow(f"{name} is not valid Unicode")
    return UndecidedRow("identical") if pair.chosen == pair.rejected else pair


def as_text(prompt: str | Messages) -> str | Messages:
    """The prompt with a single user message turned into plain text."""
    if isinstance(prompt, str) or len(prompt) != 1 or prompt[0]["role"] != "user":
        return prompt
    return prompt[0]["content"]


def as_messages(prompt: str | Messages) -> str | Messages:
    """The prompt with plain text turned into a user message."""
    return ({"role": "user", "content": prompt},) if isinstance(prompt, str) else prompt


def as_prompt(prompt: str | Messages) -> Prompt:
    if isinstance(prompt, str):
        return Prompt(prompt_id(prompt, None), text=prompt)
    return Prompt(prompt_id(None, prompt), messages=prompt)


def imported_row(pair: ImportedPair, source: str) -> ImportedRow:
    """The row of schema IMPORTED for `pair`; source: the source if the row names none."""
    prompt = as_prompt(pair.prompt)
    texts = (pair.chosen, pair.rejected)
    ids = [imported_completion_id(prompt.prompt_id, text) for text in texts]
    return {
        "pair_id": pair_id(*ids),
        "prompt_id": prompt.prompt_id,
        "prompt": prompt.text,
        "messages": [dict(m) for m in prompt.messages] if prompt.messages is not None else None,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "p_chosen": pair.p_chosen,
        "sources": list(pair.sources or (source,)),
        "agreement": pair.agreement,
    }


def _texts(pair: ImportedPair) -> Sequence[tuple[str, str]]:
    if isinstance(pair.prompt, str):
        prompt = [("prompt", pair.prompt)]
    else:
        prompt = [(f"the {m['role']} message of prompt", m["content"]) for m in pair.prompt]
    sources = [("a source", source) for source in pair.sources]
    return [*prompt, ("chosen", pair.chosen), ("rejected", pair.rejected), *sources]


def _is_unicode(text: str) -> bool:
    """Whether `text` has no lone surrogates, which JSON can spell and invalid UTF-8 becomes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
