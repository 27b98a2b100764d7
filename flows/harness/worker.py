"""The process with lm-evaluation-harness: `python -m flows.harness.worker`.

Its jobs are those of flows.harness.suite_task.
"""

from dpo_core.children import Report, serve_jobs
from dpo_core.jobs import JobResult
from flows.harness.offline import offline
from flows.harness.requests import write_requests, write_texts
from flows.harness.scoring import try_task, write_scores
from flows.harness.suite_task import JOBS, CheckTask, HarnessJob, WriteRequests, WriteTexts
from flows.harness.tasks import open_task


def carry_out(job: HarnessJob, _: Report) -> JobResult:
    with offline() as folder:
        task = open_task(job, folder / "cache")
        match job:
            case CheckTask():
                return try_task(job, task)
            case WriteTexts():
                return write_texts(job, task)
            case WriteRequests():
                return write_requests(job, task)
        return write_scores(job, task)


if __name__ == "__main__":
    serve_jobs(JOBS, carry_out)
