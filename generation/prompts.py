"""The prompt pool: read in a stream, split by hash, drawn from with memory that does not grow."""

import heapq
import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dpo_core.errors import PromptError
from dpo_core.hashing import derive_seed
from dpo_core.import_path import load_function
from dpo_core.records import Prompt, Split, prompt_id
from dpo_core.tables import iterate_rows
from generation.config import PromptsConfig

_ROLES = ("system", "user", "assistant", "tool")
_DECODE = json.JSONDecoder().raw_decode  # json.loads guesses the encoding of every line
_MASK = (1 << 64) - 1
_EXAMPLE = '{"prompt": "Why is the sky blue?"}'
_MESSAGES_EXAMPLE = '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'


@dataclass(frozen=True)
class Draw:
    """Prompts drawn from the pool and what became of the rest of it."""

    prompts: list[Prompt]
    pool: int
    dropped: Mapping[str, int]


def read_pool(config: PromptsConfig) -> Iterator[Prompt]:
    """The prompts of the pool in their order, each with its split; one row in memory at a time.

    Raises PromptError that names file, row and remedy at the first row that cannot be read.
    """
    for where, row in _rows(config):
        yield parse_prompt(row, config, where)


def split_of(identity: str, config: PromptsConfig) -> Split:
    """The split of a prompt: the leading 32 bits of its id as a share of the range."""
    share = int(identity[:8], 16) / 0x1_0000_0000
    if share < config.gate_share:
        return "gate"
    return "test" if share < config.gate_share + config.test_share else "train"


def draw_train(pool: Iterable[Prompt], count: int, seed: int, used: Mapping[str, int]) -> Draw:
    """`count` distinct train prompts, least used ones first, in an order decided by `seed`.

    used: prompt_id → number of earlier rounds that drew it.
    """
    order = _shuffled(seed)
    return _draw(pool, {"train": count}, lambda p: (used.get(p.prompt_id, 0), order(p.prompt_id)))


def draw_held_out(pool: Iterable[Prompt], gate: int, test: int) -> Draw:
    """`gate` and `test` distinct held-out prompts: those with the lowest shuffled ids."""
    order = _shuffled(derive_seed("held_out"))
    return _draw(pool, {"gate": gate, "test": test}, lambda p: (0, order(p.prompt_id)))


def _draw(
    pool: Iterable[Prompt], wanted: Mapping[str, int], key: Callable[[Prompt], tuple[int, int]]
) -> Draw:
    """The prompts with the smallest keys of each wanted split; keeps only those in memory."""
    best: dict[str, _Smallest] = {split: _Smallest(count) for split, count in wanted.items()}
    dropped: Counter[str] = Counter()
    size = 0
    for prompt in pool:
        size += 1
        smallest = best.get(prompt.split)
        if smallest is None:
            dropped[f"{prompt.split}_split"] += 1
        elif reason := smallest.offer(key(prompt), prompt):
            dropped[reason] += 1
    prompts = [prompt for smallest in best.values() for prompt in smallest.in_order()]
    return Draw(prompts, size, {k: v for k, v in sorted(dropped.items()) if v})


class _Smallest:
    """The `count` distinct prompts with the smallest keys among those offered."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[tuple[tuple[int, int], str, Prompt]] = []  # keys negated: largest first
        self._held: set[str] = set()

    def offer(self, key: tuple[int, int], prompt: Prompt) -> str | None:
        """Take `prompt` in if its key is small enough; the reason for what was dropped for it."""
        negated = (-key[0], -key[1])
        if len(self._heap) == self.count and negated < self._heap[0][0]:
            return "not_drawn"
        if prompt.prompt_id in self._held:
            return "duplicate"
        self._held.add(prompt.prompt_id)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, (negated, prompt.prompt_id, prompt))
            return None
        _, gone, _ = heapq.heapreplace(self._heap, (negated, prompt.prompt_id, prompt))
        self._held.remove(gone)
        return "not_drawn"

    def in_order(self) -> list[Prompt]:
        return [
            prompt for _, _, prompt in sorted(self._heap, key=lambda item: item[:2], reverse=True)
        ]


def _shuffled(seed: int) -> Callable[[str], int]:
    """A keyed pseudo-random order of ids, cheap enough for millions: an odd multiplier mod 2^64."""
    multiplier = derive_seed("order", seed) | 1
    return lambda identity: int(identity, 16) * multiplier & _MASK


def parse_prompt(row: Mapping[str, Any], config: PromptsConfig, where: str) -> Prompt:
    """The prompt in one row. Raises PromptError that says what is wrong with it, at `where`."""
    field = config.field
    if not isinstance(row, Mapping):
        raise PromptError(
            f"{where}: expected an object, found {type(row).__name__}", f"For example {_EXAMPLE}"
        )
    text, messages = row.get(field), row.get("messages")
    if (text is None) == (messages is None):
        found = (
            "both"
            if text is not None
            else f"neither (its fields: {', '.join(map(str, row)) or 'none'})"
        )
        raise PromptError(
            f"{where}: a row holds either `{field}` (text) or `messages` (chat), "
            f"this one has {found}",
            f"For example {_EXAMPLE} or {_MESSAGES_EXAMPLE}; set prompts.field for another name.",
        )
    if messages is not None:
        messages = _parse_messages(messages, where)
    elif not isinstance(text, str) or not text.strip():
        raise PromptError(
            f"{where}: `{field}` must be text that is not empty", f"For example {_EXAMPLE}"
        )
    _check_unicode([str(text)] if messages is None else [m["content"] for m in messages], where)
    extra = {key: value for key, value in row.items() if key not in (field, "messages")}
    identity = prompt_id(text, messages)
    return Prompt(identity, text, messages, extra, split_of(identity, config))


def _check_unicode(texts: Iterable[str], where: str) -> None:
    """JSON can spell half a character (a lone surrogate), which no tokenizer can hold."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"{where}: not valid Unicode: {error.reason} at character {error.start}",
                "Write both halves of the surrogate pair, or leave the character out.",
            ) from None


def _parse_messages(messages: Any, where: str) -> tuple[Mapping[str, str], ...]:
    well_formed = (
        isinstance(messages, list | tuple) and messages and all(map(_is_message, messages))
    )
    if not well_formed or messages[-1]["role"] == "assistant":
        raise PromptError(
            f"{where}: `messages` must be a list of role ({', '.join(_ROLES)}) and content (text) "
            "that does not end with the assistant",
            f"For example {_MESSAGES_EXAMPLE}",
        )
    return tuple({"role": m["role"], "content": m["content"]} for m in messages)


def _is_message(message: Any) -> bool:
    return (
        isinstance(message, Mapping)
        and message.get("role") in _ROLES
        and isinstance(message.get("content"), str)
    )


def _rows(config: PromptsConfig) -> Iterator[tuple[str, Any]]:
    if config.function is not None:
        for number, row in enumerate(_called(config.function), 1):
            yield f"{config.function} row {number}", row
        return
    assert config.path is not None
    path = Path(config.path)
    if path.suffix == ".parquet":
        for number, row in enumerate(_parquet(path), 1):
            yield f"{path} row {number}", row
    else:
        yield from _json_lines(path)


def _called(function: str) -> Iterator[Any]:
    rows = load_function(function)
    try:
        yield from rows()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise PromptError(
            f"{function} raised {type(error).__name__}: {error} ({where.filename}:{where.lineno})",
            "It is called without arguments and yields one row per prompt.",
        ) from error


def _parquet(path: Path) -> Iterator[Any]:
    try:
        yield from iterate_rows(path)
    except pa.ArrowInvalid as error:
        raise PromptError(
            f"{path} is not a parquet file: {error}", "Name a file of JSON lines .jsonl."
        ) from None


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                # A byte order mark may open the file.
                text = str(line, "utf-8").removeprefix("\ufeff").strip()
                if not text:
                    continue
                row, end = _DECODE(text)
                yield f"{path}:{number}", row if end == len(text) else json.loads(text)
            except ValueError as error:
                raise PromptError(
                    f"{path}:{number} is not JSON: {error}", f"One object per line: {_EXAMPLE}"
                ) from None
