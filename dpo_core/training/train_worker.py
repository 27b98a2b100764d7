"""The training process, driven through dpo_core.children.

Requests: {"op": "base", "job": BaseJob as JSON} makes the base policy, {"op": "dpo", "job": DpoJob
as JSON} trains one round. torch and transformers are loaded before the process says it is ready,
so that their start-up is measured apart from training.
"""

from typing import Any

import torch

from dpo_core.children import Report, serve
from dpo_core.errors import BadInput, ChildFailed
from dpo_core.training.base_policy import prepare_base
from dpo_core.training.jobs import BaseJob, DpoJob
from dpo_core.training.trainer import train_round


def handle(request: dict[str, Any], report: Report) -> dict[str, Any]:
    """Carry out one request. Raises BadInput for an unknown one, ChildFailed when memory ends."""
    try:
        if request["op"] == "base":
            return prepare_base(BaseJob.model_validate(request["job"]), report)
        if request["op"] == "dpo":
            return train_round(DpoJob.model_validate(request["job"]), report)
    except torch.OutOfMemoryError as error:
        raise ChildFailed(
            f"training ran out of device memory: {str(error).splitlines()[0]}",
            "Lower training.micro_batch_tokens (it moves no number), or sft.batch_size.",
        ) from error
    raise BadInput(f"the training process knows no request {request['op']!r}")


if __name__ == "__main__":
    serve(handle)
