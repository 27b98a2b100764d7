"""The sampling process: `python -m generation.worker`, driven through dpo_core.children.

Requests: {"op": "sample", …} samples a prompt file, {"op": "logps", …} scores a completions file,
{"op": "continuations", …} scores a file of texts. The first of them decides the engine; later ones
may load other weights of the same model. {"op": "tokenise", …} encodes imported pairs, and
{"op": "retokenise", …} another model's completions; both need no engine.
"""

import time
from pathlib import Path
from typing import Any

import torch

from dpo_core.children import Report, serve
from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Engine
from generation.memory import keep_buffers_out_of_heap
from generation.sampling import SampleJob, load_tokenizer, sample_file
from generation.scoring import score_continuations, score_file
from generation.tokenise import (
    RetokeniseJob,
    TokeniseJob,
    context_length,
    retokenise,
    tokenise_pairs,
)


class SamplingWorker:
    """Answers requests with one engine, created by the first that needs it."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.tokenizer: Any = None
        self.config = SamplingConfig()
        self.seconds_start = 0.0

    def handle(self, request: dict[str, Any], report: Report) -> dict[str, Any]:
        if (tokenise := _WITHOUT_ENGINE.get(request["op"])) is not None:
            return tokenise(request, report)
        engine = self._ready(request)
        if request["op"] == "logps":
            score_file(engine, Path(request["completions"]), Path(request["out"]), report)
            result: dict[str, Any] = {}
        elif request["op"] == "continuations":
            asked, out = Path(request["continuations"]), Path(request["out"])
            result = score_continuations(engine, self.tokenizer, asked, out, report)
        else:
            job = SampleJob(
                policy=request["policy_id"],
                prompts=Path(request["prompts"]),
                out=Path(request["out"]),
                shards=Path(request["shards"]),
                samples_per_prompt=request["samples_per_prompt"],
                seed=request["seed"],
                decoding=DecodingOptions(**request["decoding"]) if "decoding" in request else None,
            )
            result = sample_file(engine, self.tokenizer, job, self.config, report)
        seconds_start, self.seconds_start = self.seconds_start, 0.0
        on_gpu = torch.cuda.is_available()
        return {
            **result,
            "seconds_start": seconds_start,
            "versions": engine.versions(),
            "threads": torch.get_num_threads(),
            "device": "cuda" if on_gpu else "cpu",
            "gpus": self.config.tensor_parallel_size if on_gpu else 0,
        }

    def _ready(self, request: dict[str, Any]) -> Engine:
        """The engine with the requested policy loaded."""
        policy = Path(request["policy"])
        started = time.monotonic()
        if self.engine is None:
            self.config = SamplingConfig.model_validate(request["config"])
            self.engine = _make_engine(self.config, policy)
            self.tokenizer = load_tokenizer(policy)
        else:
            self.engine.load(policy)
        self.seconds_start += time.monotonic() - started
        return self.engine


def _tokenise(request: dict[str, Any], report: Report) -> dict[str, Any]:
    policy = Path(request["policy"])
    job = TokeniseJob(
        pairs=Path(request["pairs"]),
        held_out=Path(request["held_out"]),
        out_dir=Path(request["out_dir"]),
        longest=_longest(request),
        hard=request["hard"],
        gate_pool=Path(request["gate_pool"]) if request.get("gate_pool") else None,
    )
    return tokenise_pairs(load_tokenizer(policy), policy, job, report)


def _retokenise(request: dict[str, Any], report: Report) -> dict[str, Any]:
    policy = Path(request["policy"])
    job = RetokeniseJob(
        prompts=Path(request["prompts"]),
        completions=Path(request["completions"]),
        out=Path(request["out"]),
        longest=_longest(request),
    )
    return retokenise(load_tokenizer(policy), policy, job, report)


_WITHOUT_ENGINE = {"tokenise": _tokenise, "retokenise": _retokenise}


def _longest(request: dict[str, Any]) -> int:
    """Most tokens of prompt and answer together: the request's limit within the context length."""
    limit, positions = request["longest"], context_length(Path(request["policy"]))
    return positions if limit is None else min(limit, positions)


def _make_engine(config: SamplingConfig, policy: Path) -> Engine:
    """The engine that `config` names, with `policy` loaded."""
    if config.engine == "vllm":
        from generation.vllm_engine import VllmEngine

        return VllmEngine(config, policy)
    from generation.transformers_engine import TransformersEngine

    return TransformersEngine(config, policy)


if __name__ == "__main__":
    keep_buffers_out_of_heap()
    serve(SamplingWorker().handle)
