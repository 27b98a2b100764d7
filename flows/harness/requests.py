"""What a task asks of a policy: prompts to answer, or texts whose likelihood is taken."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_core.hashing import content_id
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import CONTINUATIONS, PROMPTS
from dpo_core.tables import write_rows
from flows.harness.task_request import TaskRequest
from flows.harness.tasks import ANSWERED

_MOST_TOKENS = 256
"""Of an answer, where a task does not say it: the harness's own default."""
_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def build_requests(asked: TaskRequest, task: Any) -> None:
    """Leave the task's requests, with the examples it wants in them, in `task.instances`."""
    task.build_all_requests(
        limit=asked.limit,
        apply_chat_template=asked.chat,
        fewshot_as_multiturn=asked.chat,
        chat_template=_as_json if asked.chat else None,
    )


def write_requests(asked: TaskRequest, task: Any, folder: Path) -> dict[str, Any]:
    """Write prompts.parquet, one prompt per document, and continuations.parquet where likelihoods
    are asked for; what else there is to know of them."""
    build_requests(asked, task)
    documents = {one.doc_id: one for one in reversed(task.instances)}
    rows = (
        prompt_row(_prompt(document_id(asked.task, number), documents[number].args[0], asked.chat))
        for number in sorted(documents)
    )
    facts: dict[str, Any] = {"documents": write_rows(folder / "prompts.parquet", rows, PROMPTS)}
    if task.OUTPUT_TYPE == ANSWERED:
        return {**facts, "decoding": decoding_options(asked, task)}
    file = folder / "continuations.parquet"
    return {**facts, "continuations": write_rows(file, _continuations(asked, task), CONTINUATIONS)}


def document_id(task: str, number: int) -> str:
    """In place of a prompt's id: two documents may have one prompt, and two solutions."""
    return content_id("document", task, number)


def continuation_id(document: str, number: int) -> str:
    return f"{document}/{number}"


def decoding_options(asked: TaskRequest, task: Any) -> dict[str, float]:
    """How the task wants its answers made: greedy unless it says something else."""
    said: Mapping[str, Any] = task.config.generation_kwargs
    drawn = said.get("do_sample", False)
    own = next((int(said[name]) for name in _NAMES if name in said), _MOST_TOKENS)
    return {
        "max_tokens": asked.max_tokens or own,
        "temperature": float(said.get("temperature", 1.0)) if drawn else 0.0,
        "top_p": float(said.get("top_p", 1.0)) if drawn else 1.0,
    }


def read_document_texts(task: Any, limit: int | None) -> list[str]:
    """What the documents themselves ask: nothing that should be trained on."""
    found = (task.doc_to_text(document) for _, document in task.doc_iterator(limit=limit))
    return [text for text in found if isinstance(text, str) and text.strip()]


def make_prompts(text: str) -> Iterator[Prompt]:
    """A text as a prompt, and as a chat."""
    messages = ({"role": "user", "content": text},)
    yield Prompt(prompt_id(text, None), text=text, split="test")
    yield Prompt(prompt_id(None, messages), messages=messages, split="test")


def _continuations(asked: TaskRequest, task: Any) -> Iterator[dict[str, Any]]:
    for one in task.instances:
        context, continuation = one.args
        document = document_id(asked.task, one.doc_id)
        prompt = _prompt(document, context, asked.chat)
        yield {
            "continuation_id": continuation_id(document, one.idx),
            "prompt_id": document,
            "prompt": prompt.text,
            "messages": prompt_row(prompt)["messages"],
            "continuation": continuation,
        }


def _prompt(identity: str, context: str, chat: bool) -> Prompt:
    """A context that is empty is none, also of a chat."""
    if not (chat and context):
        return Prompt(identity, text=context, split="test")
    return Prompt(identity, messages=tuple(json.loads(context)), split="test")


def _as_json(messages: list[dict[str, str]], **_: Any) -> str:
    """In place of the policy's chat template, which is applied where its tokenizer is."""
    return json.dumps(messages)
