"""The prompt pool: read as a stream, split by hash, drawn from in constant memory."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.errors import PromptError
from dpo_core.hashing import content_id, derive_seed
from dpo_core.records import Prompt, Split, prompt_id
from generation.config import PromptsConfig
from generation.prompt_rows import EXAMPLE as _EXAMPLE
from generation.prompt_rows import read_prompt_rows

_ROLES = ("system", "user", "assistant", "tool")
_MASK = (1 << 64) - 1
_MESSAGES_EXAMPLE = '{"messages": [{"role": "user", "content": "Why is the sky blue?"}]}'


@dataclass(frozen=True)
class Draw:
    """Prompts drawn from a pool of `pool` prompts; `dropped`: reason → count of the others."""

    prompts: list[Prompt]
    pool: int
    dropped: Mapping[str, int]


def read_pool(config: PromptsConfig, unfinished: Counter[str] | None = None) -> Iterator[Prompt]:
    """The pool's prompts in order, each with its split, one row in memory at a time.

    Skips rows that are still being written and counts them in `unfinished`, by reason.
    Raises PromptError with file, row and remedy at the first row that cannot be read.
    """
    for where, row in read_prompt_rows(config, Counter() if unfinished is None else unfinished):
        yield parse_prompt(row, config, where)


def split_unit(identity: str, extra: Mapping[str, object], config: PromptsConfig) -> str:
    """Id of the unit that stays in one split: the prompt's group with split_by group, or itself."""
    group = extra.get("group") if config.split_by == "group" else None
    return identity if group is None else content_id("group", group)


def check_pool(config: PromptsConfig) -> None:
    """Read the whole pool as the first steps of a campaign do.

    Raises PromptError for a row that cannot be read, and for a split without prompts.
    """
    counts = count_splits(config)
    # Without reuse, an empty train split is a pool that waits for more prompts.
    for split in ("train", "gate", "test") if config.reuse else ("gate", "test"):
        if counts[split] == 0:
            raise PromptError(
                f"none of the {counts.total()} prompts falls into the {split} split",
                "Give more prompts, or change prompts.gate_share and prompts.test_share.",
            )


def count_splits(config: PromptsConfig) -> Counter[Split]:
    """split → number of prompts. Raises PromptError for a row that cannot be read."""
    return Counter(prompt.split for prompt in read_pool(config))


def assign_split(identity: str, config: PromptsConfig) -> Split:
    """The split of a prompt or a group: the leading 32 bits of its id, as a share of 2^32."""
    share = int(identity[:8], 16) / 0x1_0000_0000
    if share < config.gate_share:
        return "gate"
    return "test" if share < config.gate_share + config.test_share else "train"


def draw_train(
    pool: Iterable[Prompt], count: int, seed: int, used: Mapping[str, int], *, reuse: bool = True
) -> Draw:
    """Draw `count` distinct train prompts, least used first, in an order decided by `seed`.

    Args:
        used: prompt_id → number of earlier rounds that drew it.
        reuse: whether used prompts may be drawn; without, the draw may be smaller or empty.
    """
    order = hash_order(seed)
    again = Counter[str]()
    drawn = draw_smallest(
        pool if reuse else _unused(pool, used, again),
        {"train": count},
        lambda p: (used.get(p.prompt_id, 0), order(p.prompt_id)),
    )
    dropped = {k: v for k, v in sorted({**drawn.dropped, **again}.items()) if v}
    return Draw(drawn.prompts, drawn.pool + again.total(), dropped)


def _unused(
    pool: Iterable[Prompt], used: Mapping[str, int], again: Counter[str]
) -> Iterator[Prompt]:
    for prompt in pool:
        if used.get(prompt.prompt_id, 0):
            again["used"] += 1
        else:
            yield prompt


def draw_held_out(
    pool: Iterable[Prompt], gate: int, test: int, config: PromptsConfig | None = None
) -> Draw:
    """Draw `gate` and `test` distinct held-out prompts: those first in a fixed hash order.

    config: section of the pool when its groups must stay together; groups are then contiguous.
    """
    order = hash_order(derive_seed("held_out"))

    def place(prompt: Prompt) -> tuple[int, int]:
        unit = prompt.prompt_id
        if config is not None:
            unit = split_unit(prompt.prompt_id, prompt.extra, config)
        return order(unit), order(prompt.prompt_id)

    return draw_smallest(pool, {"gate": gate, "test": test}, place)


def draw_smallest(
    pool: Iterable[Prompt],
    wanted: Mapping[str, int],
    key: Callable[[Prompt], tuple[int, int]],
    group: Callable[[Prompt], str] = lambda prompt: prompt.split,
) -> Draw:
    """The prompts with the smallest keys of each group, in the order of `wanted`.

    Keeps only those in memory.

    Args:
        wanted: group → number of prompts.
        group: the group of a prompt; by default its split.
    """
    best = {name: _Smallest(count) for name, count in wanted.items() if count}
    dropped: Counter[str] = Counter()
    size = 0
    for prompt in pool:
        size += 1
        name = group(prompt)
        smallest = best.get(name)
        if smallest is None:
            dropped[f"{name}_split"] += 1
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
        """Add `prompt` if its key is small enough; returns why it or another was dropped."""
        negated = (-key[0], -key[1])
        if len(self._heap) == self.count and negated < self._heap[0][0]:
            return "not_drawn"
        if prompt.prompt_id in self._held:
            return "duplicate"
        self._held.add(prompt.prompt_id)
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, (negated, prompt.prompt_id, prompt))
            return None
        _, replaced, _ = heapq.heapreplace(self._heap, (negated, prompt.prompt_id, prompt))
        self._held.remove(replaced)
        return "not_drawn"

    def in_order(self) -> list[Prompt]:
        return [
            prompt for _, _, prompt in sorted(self._heap, key=lambda item: item[:2], reverse=True)
        ]


def hash_order(seed: int) -> Callable[[str], int]:
    """A seeded pseudo-random order of ids: multiplication by an odd number mod 2^64."""
    multiplier = derive_seed("order", seed) | 1
    return lambda identity: int(identity, 16) * multiplier & _MASK


def parse_prompt(row: Mapping[str, object], config: PromptsConfig, where: str) -> Prompt:
    """The prompt in one row. Raises PromptError with what is wrong at `where`."""
    field = config.field
    if not isinstance(row, Mapping):
        raise PromptError(
            f"{where}: expected an object, found {type(row).__name__}", f"For example {_EXAMPLE}"
        )
    given, chat = row.get(field), row.get("messages")
    if (given is None) == (chat is None):
        fields = f"neither (its fields: {', '.join(map(str, row)) or 'none'})"
        raise PromptError(
            f"{where}: a row holds either `{field}` (text) or `messages` (chat), "
            f"this one has {fields if given is None else 'both'}",
            f"For example {_EXAMPLE} or {_MESSAGES_EXAMPLE}; set prompts.field for another name.",
        )
    messages = _parse_messages(chat, where) if chat is not None else None
    text = given if isinstance(given, str) else None
    if messages is None and not (text or "").strip():
        raise PromptError(
            f"{where}: `{field}` must be text that is not empty", f"For example {_EXAMPLE}"
        )
    _check_unicode([text or ""] if messages is None else [m["content"] for m in messages], where)
    extra = {key: value for key, value in row.items() if key not in (field, "messages")}
    identity = prompt_id(text, messages)
    return Prompt(
        identity, text, messages, extra, assign_split(split_unit(identity, extra, config), config)
    )


def _check_unicode(texts: Iterable[str], where: str) -> None:
    """Raise PromptError for a lone surrogate, which JSON can spell and no tokenizer can encode."""
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
