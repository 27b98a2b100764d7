"""Score answers by a task, document by document."""

from collections import defaultdict
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from dpo_core.records import Score, score_row
from dpo_core.schemas import SCORES
from dpo_core.tables import read_rows, write_rows
from flows.harness.requests import build_requests, continuation_id, decoding_options, document_id
from flows.harness.suite_task import AnyTask, CheckTask, ScoreDocuments, TaskChecked, TaskScored
from flows.harness.tasks import ANSWERED, choose_metric, unreadable_documents, versions

Responses = Mapping[str, str | tuple[float, bool]]
"""id of the request → the policy's text, or (log-prob, whether greedy)"""


def write_scores(job: ScoreDocuments, task: Any) -> TaskScored:
    answers = read_rows(job.answers, ["completion_id", "prompt_id", "text"])
    completions = {row["prompt_id"]: row["completion_id"] for row in answers}
    responses: Responses = {row["prompt_id"]: row["text"] for row in answers}
    if job.likelihoods is not None:
        rows = read_rows(job.likelihoods, ["continuation_id", "logp", "greedy"])
        responses = {row["continuation_id"]: (row["logp"], row["greedy"]) for row in rows}
    scores = _score_documents(job, task, responses)
    source = f"harness:{job.task}"
    scored = (score_row(completions[document], source, s) for document, s in scores.items())
    count = write_rows(job.out, scored, SCORES)
    abstained = sum(score.value is None for score in scores.values())
    return TaskScored(scored=count, abstained=abstained, versions=versions(task))


def _score_documents(suite: AnyTask, task: Any, responses: Responses) -> dict[str, Score]:
    """document → score, for documents whose requests all have a response.

    The task's other numbers for a document become measures of the score.
    """
    metric, filtered = choose_metric(suite, task)
    build_requests(suite, task)
    by_document = defaultdict(list)
    for instance in sorted(task.instances, key=lambda each: (each.doc_id, each.idx)):
        by_document[instance.doc_id].append(instance)
    answered = {
        number: requests
        for number, requests in by_document.items()
        if all(_response_id(suite, task, request) in responses for request in requests)
    }
    task._instances = [request for requests in answered.values() for request in requests]
    for request in task._instances:
        request.resps = [_cut(task, request, responses[_response_id(suite, task, request)])]
    if answered:
        task.apply_filters()
    return {
        document_id(suite.task, number): _score(task, metric, filtered, requests)
        for number, requests in answered.items()
    }


def try_task(job: CheckTask, task: Any) -> TaskChecked:
    metric, filtered = choose_metric(job, task)
    try:
        build_requests(job, task)
        documents = len({request.doc_id for request in task.instances})
        _try_to_score(task, [r for r in task.instances if r.doc_id == task.instances[0].doc_id])
    except Exception as error:  # the task's own code, given data that it was not written for
        raise unreadable_documents(job, error) from error
    answered = task.OUTPUT_TYPE == ANSWERED
    return TaskChecked(
        documents=documents,
        score=f"{metric},{filtered}",
        max_tokens=decoding_options(job, task).max_tokens if answered else 0,
    )


def _try_to_score(task: Any, requests: list[Any]) -> None:
    """Score one document with a dummy response. Raises what the task raises."""
    for request in requests:
        request.resps = ["no" if task.OUTPUT_TYPE == ANSWERED else (-1.0, False)]
    task._instances = requests
    task.apply_filters()
    for filtered in requests[0].filtered_resps:
        task.process_results(requests[0].doc, [each.filtered_resps[filtered] for each in requests])


def _response_id(suite: AnyTask, task: Any, request: Any) -> str:
    document = document_id(suite.task, request.doc_id)
    if task.OUTPUT_TYPE == ANSWERED:
        return document
    return continuation_id(document, request.idx)


def _cut(task: Any, request: Any, response: Any) -> Any:
    """The response; an answer ends before the task's first stop text."""
    if task.OUTPUT_TYPE != ANSWERED:
        return tuple(response)
    until = request.args[1].get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        response = response.split(stop)[0] if stop else response
    return response


def _score(task: Any, metric: str, filtered: str, requests: list[Any]) -> Score:
    responses = [request.filtered_resps[filtered] for request in requests]
    try:
        results = task.process_results(requests[0].doc, responses)
    except Exception as error:  # the task's own code; one document is no reason to stop
        return Score(None, f"{type(error).__name__}: {error}")
    numbers = {name: float(v) for name, v in results.items() if isinstance(v, Real | np.bool_)}
    if metric not in numbers:
        return Score(
            None, f"{metric} of this document is not a number: {results.get(metric)!r:.80}"
        )
    return Score(numbers[metric], "", {name: (value, 1.0) for name, value in numbers.items()})
