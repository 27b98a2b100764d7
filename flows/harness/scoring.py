"""What a task makes of answers, document by document."""

from collections import defaultdict
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from dpo_core.records import Score
from flows.harness.task_request import TaskRequest
from flows.harness.requests import build_requests, continuation_id, document_id
from flows.harness.tasks import ANSWERED, choose_metric

Responses = Mapping[str, Any]
"""id of the request → the policy's text, or (log-prob, whether greedy)"""


def score_documents(asked: TaskRequest, task: Any, responses: Responses) -> dict[str, Score]:
    """document → its score, of those whose requests all have a response.

    The other numbers that the task has of a document are its measures.
    """
    metric, filtered = choose_metric(asked, task)
    build_requests(asked, task)
    by_document = defaultdict(list)
    for one in sorted(task.instances, key=lambda one: (one.doc_id, one.idx)):
        by_document[one.doc_id].append(one)
    answered = {
        number: requests
        for number, requests in by_document.items()
        if all(_name(asked, task, one) in responses for one in requests)
    }
    for one in (one for requests in answered.values() for one in requests):
        one.resps = [_as_asked(task, one, responses[_name(asked, task, one)])]
    task._instances = [one for requests in answered.values() for one in requests]
    if answered:
        task.apply_filters()
    return {
        document_id(asked.task, number): _score(task, metric, filtered, requests)
        for number, requests in answered.items()
    }


def try_to_score(task: Any, requests: list[Any]) -> None:
    """Score one document as if the policy had said next to nothing. Raises what the task raises."""
    for one in requests:
        one.resps = ["no" if task.OUTPUT_TYPE == ANSWERED else (-1.0, False)]
    task._instances = requests
    task.apply_filters()
    for filtered in requests[0].filtered_resps:
        task.process_results(requests[0].doc, [one.filtered_resps[filtered] for one in requests])


def _name(asked: TaskRequest, task: Any, request: Any) -> str:
    document = document_id(asked.task, request.doc_id)
    if task.OUTPUT_TYPE == ANSWERED:
        return document
    return continuation_id(document, request.idx)


def _as_asked(task: Any, request: Any, response: Any) -> Any:
    """An answer ends where the first of the texts stands at which the task wants it to end."""
    if task.OUTPUT_TYPE != ANSWERED:
        return tuple(response)
    until = request.args[1].get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        response = response.split(stop)[0] if stop else response
    return response


def _score(task: Any, metric: str, filtered: str, requests: list[Any]) -> Score:
    responses = [one.filtered_resps[filtered] for one in requests]
    try:
        found = task.process_results(requests[0].doc, responses)
    except Exception as error:  # a task's own code; one document is no reason to stop
        return Score(None, f"{type(error).__name__}: {error}")
    numbers = {name: float(v) for name, v in found.items() if isinstance(v, Real | np.bool_)}
    if metric not in numbers:
        return Score(None, f"{metric} of this document is no number: {found.get(metric)!r:.80}")
    return Score(numbers[metric], "", {name: (value, 1.0) for name, value in numbers.items()})
