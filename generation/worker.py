"""The sampling process: `python -m generation.worker`, driven through dpo_core.children.

Its jobs are those of generation.jobs. The first one that needs an engine decides its config; later
ones may load other weights of the same model.
"""

import time
from pathlib import Path
from typing import Any, TypeVar

import torch

from dpo_core.children import Report, serve_jobs
from dpo_core.jobs import JobResult
from generation.config import SamplingConfig
from generation.engine import Engine
from generation.jobs import (
    JOBS,
    ContinuationsJob,
    EngineResult,
    RetokeniseJob,
    SampleJob,
    SamplingJob,
    ScoreJob,
    TokeniseJob,
)
from generation.memory import keep_buffers_out_of_heap
from generation.sampling import load_tokenizer, sample_rows
from generation.scoring import score_continuations, score_rows
from generation.tokenise import context_length, retokenise, tokenise_pairs

OnEngine = SampleJob | ScoreJob | ContinuationsJob
AnyTokenJob = TypeVar("AnyTokenJob", TokeniseJob, RetokeniseJob)


class SamplingWorker:
    """Carries out jobs with one engine, created by the first that needs it."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.tokenizer: Any = None
        self.config = SamplingConfig()
        self.seconds_start = 0.0

    def carry_out(self, job: SamplingJob, report: Report) -> JobResult:
        match job:
            case TokeniseJob():
                return tokenise_pairs(load_tokenizer(job.policy), _within_context(job), report)
            case RetokeniseJob():
                return retokenise(load_tokenizer(job.policy), _within_context(job), report)
        engine = self._ready(job)
        result = self._with_engine(engine, job, report)
        seconds_start, self.seconds_start = self.seconds_start, 0.0
        on_gpu = torch.cuda.is_available()
        about = {
            "seconds_start": seconds_start,
            "versions": engine.versions(),
            "threads": torch.get_num_threads(),
            "device": "cuda" if on_gpu else "cpu",
            "gpus": self.config.tensor_parallel_size if on_gpu else 0,
        }
        return result.model_copy(update=about)

    def _with_engine(self, engine: Engine, job: OnEngine, report: Report) -> EngineResult:
        match job:
            case SampleJob():
                return sample_rows(engine, self.tokenizer, job, self.config, report)
            case ScoreJob():
                return score_rows(engine, job, report)
        return score_continuations(engine, self.tokenizer, job, report)

    def _ready(self, job: OnEngine) -> Engine:
        """The engine with the job's policy loaded."""
        started = time.monotonic()
        if self.engine is None:
            self.config = job.config
            self.engine = _make_engine(self.config, job.policy)
            self.tokenizer = load_tokenizer(job.policy)
        else:
            self.engine.load(job.policy)
        self.seconds_start += time.monotonic() - started
        return self.engine


def _within_context(job: AnyTokenJob) -> AnyTokenJob:
    """The job with its limit within the context length of the policy."""
    positions = context_length(job.policy)
    longest = positions if job.longest is None else min(job.longest, positions)
    return job.model_copy(update={"longest": longest})


def _make_engine(config: SamplingConfig, policy: Path) -> Engine:
    """The engine that `config` names, with `policy` loaded."""
    if config.engine == "vllm":
        from generation.vllm_engine import VllmEngine

        return VllmEngine(config, policy)
    from generation.transformers_engine import TransformersEngine

    return TransformersEngine(config, policy)


if __name__ == "__main__":
    keep_buffers_out_of_heap()
    serve_jobs(JOBS, SamplingWorker().carry_out)
