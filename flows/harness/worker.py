"""The process that has lm-evaluation-harness: `python -m flows.harness.worker`.

Requests name a suite, with its config: {"op": "check", …} says whether its task can be one,
{"op": "texts", …} writes what its documents ask, {"op": "requests", …} what the policy is asked,
{"op": "score", …} what the task makes of the policy's responses. Nothing is kept in between: a task
reads its data anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpo_core.children import Report, serve
from dpo_core.records import prompt_row, score_row
from dpo_core.schemas import PROMPTS, SCORES
from dpo_core.tables import read_rows, write_rows
from flows.harness.task_request import TaskRequest
from flows.harness.offline import offline
from flows.harness.requests import (
    build_requests,
    decoding_options,
    read_document_texts,
    write_requests,
    make_prompts,
)
from flows.harness.scoring import score_documents, try_to_score
from flows.harness.tasks import ANSWERED, choose_metric, open_task, unreadable_documents, versions


def handle(request: dict[str, Any], _: Report) -> dict[str, Any]:
    asked = TaskRequest.read(request)
    with offline() as place:
        task = open_task(asked, place / "cache")
        return _OPS[request["op"]](asked, task, request)


def _check(asked: TaskRequest, task: Any, _: dict[str, Any]) -> dict[str, Any]:
    metric, filtered = choose_metric(asked, task)
    try:
        build_requests(asked, task)
        documents = len({one.doc_id for one in task.instances})
        try_to_score(task, [o for o in task.instances if o.doc_id == task.instances[0].doc_id])
    except Exception as error:  # the task's own code, at data that are not its own
        raise unreadable_documents(asked, error) from error
    return {
        "documents": documents,
        "score": f"{metric},{filtered}",
        "max_tokens": decoding_options(asked, task)["max_tokens"] if task.OUTPUT_TYPE == ANSWERED else 0,
    }


def _texts(asked: TaskRequest, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    prompts = (p for text in read_document_texts(task, asked.limit) for p in make_prompts(text))
    rows = (prompt_row(prompt) for prompt in prompts)
    return {"prompts": write_rows(Path(request["out"]), rows, PROMPTS)}


def _requests(asked: TaskRequest, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    found = write_requests(asked, task, Path(request["folder"]))
    return {**found, "versions": versions(task)}


def _score(asked: TaskRequest, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    answers = read_rows(Path(request["answers"]), ["completion_id", "prompt_id", "text"])
    completions = {row["prompt_id"]: row["completion_id"] for row in answers}
    if request["likelihoods"] is not None:
        found = read_rows(Path(request["likelihoods"]), ["continuation_id", "logp", "greedy"])
        responses = {row["continuation_id"]: (row["logp"], row["greedy"]) for row in found}
    else:
        responses = {row["prompt_id"]: row["text"] for row in answers}
    scores = score_documents(asked, task, responses)

    def rows() -> Iterator[dict[str, Any]]:
        for document, score in scores.items():
            yield score_row(completions[document], f"harness:{asked.task}", score)

    count = write_rows(Path(request["out"]), rows(), SCORES)
    abstained = sum(score.value is None for score in scores.values())
    return {"scored": count, "abstained": abstained, "versions": versions(task)}


_OPS = {"check": _check, "texts": _texts, "requests": _requests, "score": _score}


if __name__ == "__main__":
    serve(handle)
