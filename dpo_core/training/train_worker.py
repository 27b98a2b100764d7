"""The training process, driven through dpo_core.children.

Its jobs are those of dpo_core.training.jobs. torch and transformers are loaded before the process
says that it is ready, so that their start is measured apart from training.
"""

import gc

import torch

from dpo_core.allocator import return_free_pages
from dpo_core.children import Report, serve_jobs
from dpo_core.jobs import JobResult
from dpo_core.training.jobs import (
    JOBS,
    AverageJob,
    BaseJob,
    DpoJob,
    JoinJob,
    LogpsJob,
    TrainingJob,
)
from dpo_core.training.policy_logps import write_policy_logps
from dpo_core.training.processes.torchrun import count_processes, join_others, train_together
from dpo_core.training.reference.average import average_policies
from dpo_core.training.results import DpoResult
from dpo_core.training.runtime import out_of_memory_error
from dpo_core.training.trainer import train_round
from dpo_core.training.warm_start.base_policy import prepare_base


def carry_out(job: TrainingJob, report: Report) -> JobResult:
    """Carry out one job. Raises ChildFailed when memory ends."""
    try:
        return _carry_out(job, report)
    except torch.OutOfMemoryError as error:
        raise out_of_memory_error(error) from error
    finally:  # others need the memory between two jobs
        gc.collect()
        return_free_pages()


def _carry_out(job: TrainingJob, report: Report) -> JobResult:
    match job:
        case BaseJob():
            return prepare_base(job, report)
        case DpoJob():
            return _train(job, report)
        case JoinJob():
            return join_others(job, report)
        case AverageJob():
            return average_policies(job, report)
        case LogpsJob():
            return write_policy_logps(job, report)


def _train(job: DpoJob, report: Report) -> DpoResult:
    together = count_processes(job.config) > 1 or job.config.torchrun
    return train_together(job, report) if together else train_round(job, report)


if __name__ == "__main__":
    serve_jobs(JOBS, carry_out, torch.cuda.device_count)
