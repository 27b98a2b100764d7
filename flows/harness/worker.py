"""The process with lm-evaluation-harness: `python -m flows.harness.worker`.

Its jobs are those of flows.harness.suite_task.
"""

from typing import Any

from dpo_core.children import Report, serve_jobs
from dpo_core.jobs import JobResult
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
from flows.harness.scoring import Responses, score_documents, try_to_score
from flows.harness.suite_task import (
    JOBS,
    CheckTask,
    DocumentsScored,
    HarnessJob,
    ScoreDocuments,
    SuiteTask,
    TaskChecked,
    WriteRequests,
    WriteTexts,
)
from flows.harness.tasks import ANSWERED, choose_metric, open_task, unreadable_documents, versions


def carry_out(job: HarnessJob, _: Report) -> JobResult:
    with offline() as folder:
        task = open_task(job.suite, folder / "cache")
        match job:
            case CheckTask():
                return _check(job.suite, task)
            case WriteTexts():
                return _write_texts(job, task)
            case WriteRequests():
                return write_requests(job, task)
        return _score(job, task)


def _check(suite: SuiteTask, task: Any) -> TaskChecked:
    metric, filtered = choose_metric(suite, task)
    try:
        build_requests(suite, task)
        documents = len({request.doc_id for request in task.instances})
        try_to_score(task, [r for r in task.instances if r.doc_id == task.instances[0].doc_id])
    except Exception as error:  # the task's own code, given data that it was not written for
        raise unreadable_documents(suite, error) from error
    answered = task.OUTPUT_TYPE == ANSWERED
    return TaskChecked(
        documents=documents,
        score=f"{metric},{filtered}",
        max_tokens=decoding_options(suite, task).max_tokens if answered else 0,
    )


def _write_texts(job: WriteTexts, task: Any) -> JobResult:
    texts = read_document_texts(task, job.suite.config.limit)
    rows = (prompt_row(prompt) for text in texts for prompt in make_prompts(text))
    write_rows(job.out, rows, PROMPTS)
    return JobResult()


def _score(job: ScoreDocuments, task: Any) -> DocumentsScored:
    answers = read_rows(job.answers, ["completion_id", "prompt_id", "text"])
    completions = {row["prompt_id"]: row["completion_id"] for row in answers}
    responses: Responses = {row["prompt_id"]: row["text"] for row in answers}
    if job.likelihoods is not None:
        rows = read_rows(job.likelihoods, ["continuation_id", "logp", "greedy"])
        responses = {row["continuation_id"]: (row["logp"], row["greedy"]) for row in rows}
    scores = score_documents(job.suite, task, responses)
    source = f"harness:{job.suite.task}"
    scored = (score_row(completions[document], source, s) for document, s in scores.items())
    count = write_rows(job.out, scored, SCORES)
    abstained = sum(score.value is None for score in scores.values())
    return DocumentsScored(scored=count, abstained=abstained, versions=versions(task))


if __name__ == "__main__":
    serve_jobs(JOBS, carry_out)
