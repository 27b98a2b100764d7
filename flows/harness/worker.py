"""The process with lm-evaluation-harness: `python -m flows.harness.worker`.

Requests hold a suite's name and config. {"op": "check", …} checks whether its task can be a suite,
{"op": "texts", …} writes its documents' questions, {"op": "requests", …} its requests to the
policy, {"op": "score", …} the scores of responses. Every request reads the task's data again.
"""

from pathlib import Path
from typing import Any

from dpo_core.children import Report, serve
from dpo_core.records import prompt_row, score_row
from dpo_core.schemas import PROMPTS, SCORES
from dpo_core.tables import read_rows, write_rows
from flows.harness.offline import offline
from flows.harness.requests import (
    build_requests,
    decoding_options,
    make_prompts,
    read_document_texts,
    write_requests,
)
from flows.harness.scoring import score_documents, try_to_score
from flows.harness.suite_task import SuiteTask
from flows.harness.tasks import ANSWERED, choose_metric, open_task, unreadable_documents, versions


def handle(request: dict[str, Any], _: Report) -> dict[str, Any]:
    suite = SuiteTask.read(request)
    with offline() as folder:
        task = open_task(suite, folder / "cache")
        return _OPS[request["op"]](suite, task, request)


def _check(suite: SuiteTask, task: Any, _: dict[str, Any]) -> dict[str, Any]:
    metric, filtered = choose_metric(suite, task)
    try:
        build_requests(suite, task)
        documents = len({request.doc_id for request in task.instances})
        try_to_score(task, [r for r in task.instances if r.doc_id == task.instances[0].doc_id])
    except Exception as error:  # the task's own code, given data that it was not written for
        raise unreadable_documents(suite, error) from error
    return {
        "documents": documents,
        "score": f"{metric},{filtered}",
        "max_tokens": decoding_options(suite, task)["max_tokens"]
        if task.OUTPUT_TYPE == ANSWERED
        else 0,
    }


def _texts(suite: SuiteTask, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    prompts = (
        p for text in read_document_texts(task, suite.config.limit) for p in make_prompts(text)
    )
    rows = (prompt_row(prompt) for prompt in prompts)
    return {"prompts": write_rows(Path(request["out"]), rows, PROMPTS)}


def _requests(suite: SuiteTask, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    written = write_requests(suite, task, Path(request["folder"]))
    return {**written, "versions": versions(task)}


def _score(suite: SuiteTask, task: Any, request: dict[str, Any]) -> dict[str, Any]:
    answers = read_rows(Path(request["answers"]), ["completion_id", "prompt_id", "text"])
    completions = {row["prompt_id"]: row["completion_id"] for row in answers}
    if request["likelihoods"] is not None:
        rows = read_rows(Path(request["likelihoods"]), ["continuation_id", "logp", "greedy"])
        responses = {row["continuation_id"]: (row["logp"], row["greedy"]) for row in rows}
    else:
        responses = {row["prompt_id"]: row["text"] for row in answers}
    scores = score_documents(suite, task, responses)
    source = f"harness:{suite.task}"
    scored = (score_row(completions[document], source, s) for document, s in scores.items())
    count = write_rows(Path(request["out"]), scored, SCORES)
    abstained = sum(score.value is None for score in scores.values())
    return {"scored": count, "abstained": abstained, "versions": versions(task)}


_OPS = {"check": _check, "texts": _texts, "requests": _requests, "score": _score}


if __name__ == "__main__":
    serve(handle)
