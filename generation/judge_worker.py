"""The process of a judge model: `python -m generation.judge_worker`, driven by dpo_core.children.

Requests: {"op": "rate", "conversations": …} for a reward model, {"op": "choose", "questions": …}
for a language model. The first request decides which model is loaded. Texts travel through the
pipe: a batch is small, unlike a round's completions.
"""

import time
from dataclasses import asdict
from typing import Any

import torch

from dpo_core.children import Report, serve
from generation.judge_prompts import Message
from generation.memory import keep_buffers_out_of_heap
from generation.vllm_judges import ChoosingModel, JudgeModel, RewardModel, versions


class JudgeWorker:
    """Answers requests with the model that the first request names."""

    def __init__(self) -> None:
        self._model: RewardModel | ChoosingModel | None = None

    def handle(self, request: dict[str, Any], report: Report) -> dict[str, Any]:
        started, on_gpu = time.monotonic(), torch.cuda.is_available()
        kind = RewardModel if request["op"] == "rate" else ChoosingModel
        model = self._model = self._model or kind(JudgeModel(**request["model"]))
        seconds_start = time.monotonic() - started
        if isinstance(model, RewardModel):
            rated = model.rate([list(map(_message, c)) for c in request["conversations"]])
            answers = list(map(asdict, rated))
        else:
            chosen = model.choose([(_message(q), c) for q, c in request["questions"]])
            answers = list(map(asdict, chosen))
        return {
            "answers": answers,
            "seconds_start": seconds_start,
            "versions": versions(),
            "device": "cuda" if on_gpu else "cpu",
            "gpus": request["model"]["tensor_parallel_size"] if on_gpu else 0,
        }


def _message(written: dict[str, Any]) -> Message:
    return Message(written["role"], [(text, is_data) for text, is_data in written["parts"]])


if __name__ == "__main__":
    keep_buffers_out_of_heap()
    serve(JudgeWorker().handle)
