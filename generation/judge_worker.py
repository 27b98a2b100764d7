"""The process of a judge model: `python -m generation.judge_worker`, driven by dpo_core.children.

Its jobs are those of generation.judge_jobs. The first one decides which model is loaded.
"""

import time

import torch

from dpo_core.children import Report, serve_jobs
from generation.judge_jobs import JOBS, ChooseResult, JudgeJob, RateJob, RateResult
from generation.memory import keep_buffers_out_of_heap
from generation.vllm_judges import ChoosingModel, RewardModel, versions


class JudgeWorker:
    """Carries out jobs with the model that the first one names."""

    def __init__(self) -> None:
        self._model: RewardModel | ChoosingModel | None = None

    def carry_out(self, job: JudgeJob, report: Report) -> RateResult | ChooseResult:
        started = time.monotonic()
        kind = RewardModel if isinstance(job, RateJob) else ChoosingModel
        model = self._model = self._model or kind(job.model)
        about = {
            "seconds_start": time.monotonic() - started,
            "versions": versions(),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
        return _answer(model, job).model_copy(update=about)


def _answer(model: RewardModel | ChoosingModel, job: JudgeJob) -> RateResult | ChooseResult:
    if isinstance(job, RateJob):
        assert isinstance(model, RewardModel), "a process has one kind of job"
        return RateResult(answers=model.rate(job.conversations))
    assert isinstance(model, ChoosingModel), "a process has one kind of job"
    return ChooseResult(answers=model.choose(job.questions))


if __name__ == "__main__":
    keep_buffers_out_of_heap()
    serve_jobs(JOBS, JudgeWorker().carry_out, torch.cuda.device_count)
