"""A task's requests to a policy: prompts to answer, or texts whose likelihood is measured."""

import json
from collections.abc import Iterator
from typing import Any

from dpo_core.hashing import content_id
from dpo_core.jobs import JobResult
from dpo_core.records import Prompt, prompt_id, prompt_row
from dpo_core.schemas import CONTINUATIONS, PROMPTS, ContinuationRow
from dpo_core.tables import write_rows
from flows.harness.suite_task import AnyTask, RequestsWritten, WriteRequests, WriteTexts
from flows.harness.tasks import ANSWERED, versions
from generation.engine import DecodingOptions

_MOST_TOKENS = 256
"""Tokens of an answer if the task names none: the harness's default."""
_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


def build_requests(suite: AnyTask, task: Any) -> None:
    """Put the task's requests, few-shot examples included, into `task.instances`."""
    task.build_all_requests(
        limit=suite.config.limit,
        apply_chat_template=suite.chat,
        fewshot_as_multiturn=suite.chat,
        chat_template=_as_json if suite.chat else None,
    )


def write_requests(suite: WriteRequests, task: Any) -> RequestsWritten:
    build_requests(suite, task)
    documents = {instance.doc_id: instance for instance in reversed(task.instances)}
    rows = (
        prompt_row(_prompt(document_id(suite.task, number), documents[number].args[0], suite.chat))
        for number in sorted(documents)
    )
    written = RequestsWritten(
        documents=write_rows(suite.folder / "prompts.parquet", rows, PROMPTS),
        decoding=decoding_options(suite, task) if task.OUTPUT_TYPE == ANSWERED else None,
        versions=versions(task),
    )
    if written.decoding is None:
        texts = _continuations(suite, task)
        write_rows(suite.folder / "continuations.parquet", texts, CONTINUATIONS)
    return written


def document_id(task: str, number: int) -> str:
    """Used as prompt id, because two documents may share a prompt but not its solution."""
    return content_id("document", task, number)


def continuation_id(document: str, number: int) -> str:
    return f"{document}/{number}"


def decoding_options(suite: AnyTask, task: Any) -> DecodingOptions:
    """The task's decoding options; greedy by default."""
    options = task.config.generation_kwargs
    samples = options.get("do_sample", False)
    own = next((int(options[name]) for name in _NAMES if name in options), _MOST_TOKENS)
    return DecodingOptions(
        max_tokens=suite.config.max_tokens or own,
        temperature=float(options.get("temperature", 1.0)) if samples else 0.0,
        top_p=float(options.get("top_p", 1.0)) if samples else 1.0,
    )


def write_texts(job: WriteTexts, task: Any) -> JobResult:
    documents = task.doc_iterator(limit=job.config.limit)
    texts = [task.doc_to_text(document) for _, document in documents]
    asked = [text for text in texts if isinstance(text, str) and text.strip()]
    rows = (prompt_row(prompt) for text in asked for prompt in _as_prompts(text))
    write_rows(job.out, rows, PROMPTS)
    return JobResult()


def _as_prompts(text: str) -> Iterator[Prompt]:
    """The text as a plain prompt and as a chat."""
    messages = ({"role": "user", "content": text},)
    yield Prompt(prompt_id(text, None), text=text, split="test")
    yield Prompt(prompt_id(None, messages), messages=messages, split="test")


def _continuations(suite: AnyTask, task: Any) -> Iterator[ContinuationRow]:
    for instance in task.instances:
        context, continuation = instance.args
        document = document_id(suite.task, instance.doc_id)
        prompt = _prompt(document, context, suite.chat)
        yield {
            "continuation_id": continuation_id(document, instance.idx),
            "prompt_id": document,
            "prompt": prompt.text,
            "messages": prompt_row(prompt)["messages"],
            "continuation": continuation,
        }


def _prompt(identity: str, context: str, chat: bool) -> Prompt:
    """An empty context is a plain prompt, even of a chat."""
    if not (chat and context):
        return Prompt(identity, text=context, split="test")
    return Prompt(identity, messages=tuple(json.loads(context)), split="test")


def _as_json(messages: list[dict[str, str]], **_: Any) -> str:
    """Stands in for the policy's chat template, which the sampling process applies."""
    return json.dumps(messages)
