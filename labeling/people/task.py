"""What people are asked: one item per record of the queue. Pure functions; randomness is a hash.

Which completion is response A, and whether a pair is gold or a repeat, stays in the log and is
never sent to the server, so annotators cannot find out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dpo_core.errors import ConfigError
from dpo_core.hashing import content_id, derive_seed
from dpo_core.records import Judgement, Pair, Prompt, Side, Verdict, prompt_tags
from labeling.people.display import as_chat, as_markdown, visible
from labeling.people.gold import GoldItem

Kind = Literal["pair", "gold", "repeat"]
Mode = Literal["blind", "review"]

CHOICES = ("A", "B", "Tie", "Both bad")
"""Choices of the question, in the order of the keys 1 to 4."""

GUIDELINES = """Read the prompt, then both responses, and say which one you would rather have got.

- **A** or **B**: that response is better.
- **Tie**: both are good, and neither is better.
- **Both bad**: neither should have been given.

Judge what the responses say, not how long they are. A response that stops in the middle is worse
than one that ends. Discard what you cannot judge."""

GUIDELINES_CHARACTERS = 10_000
"""Argilla's limit."""

_SEEDS = 1 << 62


@dataclass(frozen=True)
class Opinion:
    """The judges' joint verdict on a pair, as mode `review` shows it."""

    choice: str
    agent: str
    confidence: float | None


@dataclass(frozen=True)
class RecordContent:
    """What annotators see of a record; the hash of its texts is the record's id.

    continues: the prompt is one text, in parts, that the responses continue.
    """

    prompt: tuple[tuple[str, str], ...]  # roles and contents
    response_a: str
    response_b: str
    continues: bool = False

    @classmethod
    def from_texts(
        cls,
        messages: Sequence[Mapping[str, str]],
        texts: tuple[str, str],
        *,
        continues: bool = False,
    ) -> "RecordContent":
        return cls(as_chat(messages), as_markdown(texts[0]), as_markdown(texts[1]), continues)

    @property
    def record_id(self) -> str:
        return content_id("record", self.prompt, self.response_a, self.response_b)

    def prompt_text(self) -> str:
        """The prompt without roles."""
        return ("" if self.continues else "\n\n").join(content for _, content in self.prompt)


@dataclass(frozen=True)
class RecordMetadata:
    """What is known about a record and not sent.

    shown_first: the completion that is response A. expected: verdict of a gold pair, in terms of a
    and b. why: reason the pair was selected.
    """

    record_id: str
    pair_id: str
    kind: Kind
    shown_first: Side
    expected: Verdict | None
    mode: Mode
    why: str


@dataclass(frozen=True)
class Item:
    """One record of the queue; of `hidden`, only the id is sent."""

    hidden: RecordMetadata
    seen: RecordContent
    metadata: Mapping[str, object] = field(default_factory=dict)
    opinion: Opinion | None = None

    @property
    def record_id(self) -> str:
        return self.hidden.record_id


@dataclass(frozen=True)
class ItemBuilder:
    """Builds the items of a round; opinions: pair_id → the judges' joint judgement."""

    number: int
    seed: int
    mode: Mode = "blind"
    opinions: Mapping[str, Judgement] = field(default_factory=dict)
    agent: str = ""

    def item(self, pair: Pair, why: str, *, again: bool = False) -> Item:
        """The item of a pair of the round; `again`: a repeat, in the other order."""
        first = first_shown(self.seed, pair.pair_id, again=again)
        texts = (pair.a.text, pair.b.text) if first == "a" else (pair.b.text, pair.a.text)
        prompt = pair.a.prompt
        continues = prompt.text is not None
        seen = RecordContent.from_texts(_messages(prompt), texts, continues=continues)
        hidden = RecordMetadata(
            record_id=seen.record_id,
            pair_id=pair.pair_id,
            kind="repeat" if again else "pair",
            shown_first=first,
            expected=None,
            mode=self.mode,
            why=why,
        )
        metadata = self._metadata(texts, prompt_tags(prompt.extra))
        return Item(hidden, seen, metadata, self._opinion(pair.pair_id, first))

    def gold_item(self, gold: GoldItem) -> Item:
        """The item of a gold pair; nothing visible distinguishes it from the others."""
        first = first_shown(self.seed, gold.pair_id)
        texts = (gold.a, gold.b) if first == "a" else (gold.b, gold.a)
        seen = RecordContent.from_texts(gold.messages, texts)
        hidden = RecordMetadata(
            record_id=seen.record_id,
            pair_id=gold.pair_id,
            kind="gold",
            shown_first=first,
            expected=gold.verdict,
            mode=self.mode,
            why="gold",
        )
        return Item(hidden, seen, self._metadata(texts, gold.tags))

    def _metadata(self, texts: tuple[str, str], tags: Sequence[str]) -> dict[str, object]:
        """Metadata that annotators can filter by; lengths in characters, which gold has too."""
        lengths = {"length_a": len(texts[0]), "length_b": len(texts[1])}
        named = {"tags": [visible(tag) for tag in tags]} if tags else {}
        return {"round": self.number, **lengths, **named}

    def _opinion(self, pair_id: str, first: Side) -> Opinion | None:
        judgement = self.opinions.get(pair_id) if self.mode == "review" else None
        choice = choice_for(judgement.verdict, first) if judgement else None
        if judgement is None or choice is None:
            return None
        return Opinion(choice, self.agent, judgement.confidence)


def plan_items(
    asking: ItemBuilder, asked: Sequence[tuple[Pair, str]], gold: Sequence[GoldItem], repeats: int
) -> list[Item]:
    """The items of a round in the order in which they are pushed.

    Args:
        asked: (pair, reason it was selected).
        gold: gold pairs, spread among the others by hash.
        repeats: number of pairs asked a second time, in the second half.
    """
    seed = asking.seed
    items = [asking.item(pair, why) for pair, why in asked]
    again = sorted(asked, key=lambda pair: derive_seed(seed, "repeat", pair[0].pair_id))[:repeats]
    placed = [((i + 0.5) / len(items), item) for i, item in enumerate(items)]
    placed += [(_chance(seed, g.pair_id), asking.gold_item(g)) for g in gold]
    placed += [
        (0.5 + _chance(seed, p.pair_id) / 2, asking.item(p, why, again=True)) for p, why in again
    ]
    placed.sort(key=lambda place: place[0])
    # Identical texts repeat themselves, and a gold pair may also be one of the round's.
    return list({item.record_id: item for _, item in reversed(placed)}.values())[::-1]


def are_continuations(items: Sequence[Item]) -> bool:
    """Whether the round's own prompts are texts that the responses continue, all of them."""
    own = [item.seen.continues for item in items if item.hidden.kind != "gold"]
    return bool(own) and all(own)


def joint_opinion(judgements: Sequence[Judgement]) -> Judgement | None:
    """The most frequent verdict with its judges' mean confidence; None without a single one."""
    counts = Counter(j.verdict for j in judgements if j.verdict is not None).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    verdict = counts[0][0]
    known = [j.confidence for j in judgements if j.verdict == verdict and j.confidence is not None]
    return Judgement(verdict, confidence=sum(known) / len(known) if known else None)


def pick_gold(gold: Sequence[GoldItem], count: int, seed: int) -> list[GoldItem]:
    """`count` gold pairs, different ones in each round."""
    return sorted(gold, key=lambda g: derive_seed(seed, "gold", g.pair_id))[:count]


def choice_for(verdict: Verdict | None, shown_first: Side) -> str | None:
    """The choice that means `verdict` when `shown_first` is response A."""
    if verdict in ("a", "b"):
        return "A" if verdict == shown_first else "B"
    return {"tie": "Tie", "both_bad": "Both bad"}.get(verdict or "")


def verdict_from_choice(choice: str | None, shown_first: Side) -> Verdict | None:
    """The inverse of `choice_for`; None for anything that is no choice.

    Example:
        >>> verdict_from_choice("A", "b")
        'b'
    """
    other: Side = "b" if shown_first == "a" else "a"
    verdicts: dict[str, Verdict] = {
        "A": shown_first,
        "B": other,
        "Tie": "tie",
        "Both bad": "both_bad",
    }
    return verdicts.get(choice or "")


def first_shown(seed: int, pair_id: str, *, again: bool = False) -> Side:
    """The completion shown as response A; `again`: the other one, for a repeat."""
    is_a = _chance(seed, "first", pair_id) < 0.5
    return "a" if is_a != again else "b"


def _messages(prompt: Prompt) -> Sequence[Mapping[str, str]]:
    if prompt.text is not None:
        return ({"role": "user", "content": prompt.text},)
    return prompt.messages or ()


def _chance(*parts: Any) -> float:
    return derive_seed(*parts) / _SEEDS


def read_guidelines(value: str | None) -> str:
    """`value` itself, or the content of the file it names; the default guidelines without one.

    Raises ConfigError when the text exceeds Argilla's limit.
    """
    text = value or GUIDELINES
    if value and "\n" not in value and Path(value).is_file():
        text = Path(value).read_text(encoding="utf-8")
    if len(text) > GUIDELINES_CHARACTERS:
        raise ConfigError(
            f"people.guidelines has {len(text):,} characters; Argilla's limit is "
            f"{GUIDELINES_CHARACTERS:,}: shorten it"
        )
    return text.strip() or GUIDELINES
