"""The training process, driven through dpo_core.children.

Requests are {"op": …, "job": the job as JSON}: "base" makes the base policy (BaseJob), "dpo" trains
one round (DpoJob), "average" averages two policies (AverageJob), "logps" computes log-probs
(LogpsJob). torch and transformers are loaded before the process reports that it is ready, so their
start-up is measured apart from training.
"""

import gc
from typing import Any

import torch

from dpo_core.allocator import return_free_pages
from dpo_core.children import Report, serve
from dpo_core.errors import BadInput
from dpo_core.training.jobs import AverageJob, BaseJob, DpoJob, LogpsJob
from dpo_core.training.policy_logps import write_policy_logps
from dpo_core.training.processes.torchrun import count_processes, train_together
from dpo_core.training.reference.average import average_policies
from dpo_core.training.runtime import out_of_memory_error
from dpo_core.training.trainer import train_round
from dpo_core.training.warm_start.base_policy import prepare_base


def handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Carry out one request. Raises BadInput for an unknown one, ChildFailed when out of memory."""
    try:
        return _carry_out(request, report)
    except torch.OutOfMemoryError as error:
        raise out_of_memory_error(error) from error
    finally:  # others need the memory between two jobs
        gc.collect()
        return_free_pages()


def _carry_out(request: dict[str, Any], report: Report) -> dict[str, Any]:
    if request["op"] == "base":
        return _on_one(prepare_base(BaseJob.model_validate(request["job"]), report))
    if request["op"] == "dpo":
        return _train(DpoJob.model_validate(request["job"]), report)
    if request["op"] == "average":
        return _on_one(average_policies(AverageJob.model_validate(request["job"]), report))
    if request["op"] == "logps":
        return _on_one(write_policy_logps(LogpsJob.model_validate(request["job"]), report))
    raise BadInput(f"unknown request to the training process: {request['op']!r}")


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
