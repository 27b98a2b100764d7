"""The training process, driven through dpo_core.children.

Its jobs are those of dpo_core.training.jobs. torch and transformers are loaded before the process
says that it is ready, so that their start is measured apart from training.
"""

import gc
from typing import Any

import torch

from dpo_core.allocator import return_free_pages
from dpo_core.children import Report, serve
from dpo_core.jobs import read_request
from dpo_core.training.jobs import JOBS, AverageJob, BaseJob, DpoJob, LogpsJob, TrainingJob
from dpo_core.training.policy_logps import write_policy_logps
from dpo_core.training.processes.torchrun import count_processes, train_together
from dpo_core.training.reference.average import average_policies
from dpo_core.training.runtime import out_of_memory_error
from dpo_core.training.trainer import train_round
from dpo_core.training.warm_start.base_policy import prepare_base


def handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Carry out one job. Raises BadInput for an unknown one, ChildFailed when memory ends."""
    job = read_request(request, JOBS)
    try:
        return _carry_out(job, report)
    except torch.OutOfMemoryError as error:
        raise out_of_memory_error(error) from error
    finally:  # others need the memory between two jobs
        gc.collect()
        return_free_pages()


def _carry_out(job: TrainingJob, report: Report) -> dict[str, Any]:
    match job:
        case BaseJob():
            return _on_one(prepare_base(job, report))
        case DpoJob():
            return _train(job, report)
        case AverageJob():
            return _on_one(average_policies(job, report))
        case LogpsJob():
            return _on_one(write_policy_logps(job, report))


def _train(job: DpoJob, report: Report) -> dict[str, Any]:
    processes = count_processes(job.config)
    if processes > 1 or job.config.torchrun:
        gpus = processes if torch.cuda.is_available() else 0
        return {**train_together(job, report), "gpus": gpus}
    return _on_one(train_round(job, report))


def _on_one(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "gpus": int(torch.cuda.is_available())}


if __name__ == "__main__":
    serve(handle)
