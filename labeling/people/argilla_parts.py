"""Argilla's JSON for the parts of a dataset and for records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from labeling.people.task import CHOICES, Item

_BATCH_CHARACTERS = 4_000_000
_STRENGTHS = (1, 2, 3)


@dataclass(frozen=True)
class Questions:
    """What people are asked about each record; fixed once the dataset exists.

    continuation: prompts are texts that the responses continue, not turns of a chat.
    """

    min_submitted: int
    strength: bool
    comment: bool
    continuation: bool = False


def dataset_parts(questions: Questions) -> dict[str, list[dict[str, object]]]:
    """Kind of part in the API → parts of a dataset, in the order of the page."""
    parts = [_question_part("preference", "Which response is better?", _CHOOSE, required=True)]
    if questions.strength:
        parts.append(_question_part("strength", "How much better?", _RATE))
    if questions.comment:
        parts.append(_question_part("comment", "Comment", {"type": "text", "use_markdown": False}))
    return {
        "fields": [
            _field_part("prompt", *(_TEXT if questions.continuation else _CHAT)),
            _field_part("response_a", "Response A", "text"),
            _field_part("response_b", "Response B", "text"),
        ],
        "questions": parts,
        "metadata-properties": [
            {"name": name, "title": title, "settings": {"type": kind}}
            for name, title, kind in _METADATA
        ],
    }


_CHAT = "Prompt", "chat"
_TEXT = "Prompt, which the responses continue", "text"
_CHOOSE = {
    "type": "label_selection",
    "options": [{"value": choice, "text": choice} for choice in CHOICES],
    "visible_options": len(CHOICES),
}
_RATE = {"type": "rating", "options": [{"value": value} for value in _STRENGTHS]}
_METADATA = (
    ("round", "Round", "integer"),
    ("tags", "Tags of the prompt", "terms"),
    ("length_a", "Characters of A", "integer"),
    ("length_b", "Characters of B", "integer"),
)


def _question_part(
    name: str, title: str, settings: Mapping[str, object], *, required: bool = False
) -> dict[str, object]:
    return {"name": name, "title": title, "required": required, "settings": dict(settings)}


def _field_part(name: str, title: str, kind: str) -> dict[str, object]:
    settings = {"type": kind, "use_markdown": True}
    return {"name": name, "title": title, "required": True, "settings": settings}


def make_record(item: Item, question: str, *, continuation: bool = False) -> dict[str, object]:
    """A record in Argilla's JSON; `question`: id of the question that a suggestion answers."""
    chat = [{"role": role, "content": content} for role, content in item.seen.prompt]
    record: dict[str, object] = {
        "external_id": item.record_id,
        "fields": {
            "prompt": item.seen.prompt_text() if continuation else chat,
            "response_a": item.seen.response_a,
            "response_b": item.seen.response_b,
        },
        "metadata": dict(item.metadata),
    }
    if item.opinion is not None:
        record["suggestions"] = [
            {
                "question_id": question,
                "value": item.opinion.choice,
                "score": item.opinion.confidence,
                "agent": item.opinion.agent,
                "type": "model",
            }
        ]
    return record


def batches(items: Sequence[Item], most: int) -> Iterator[list[Item]]:
    """Items in order, in batches of at most `most` that are short enough for one request."""
    batch: list[Item] = []
    characters = 0
    for item in items:
        length = len(item.seen.response_a) + len(item.seen.response_b)
        length += sum(len(content) for _, content in item.seen.prompt)
        if batch and (len(batch) == most or characters + length > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(item)
        characters += length
    if batch:
        yield batch
