"""Run by test_vllm_sampler in a process of its own: what vLLM's sampler and ours draw, as JSON."""

import json
from typing import Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessors
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.sampler import Sampler

from generation.vllm_sampler import CpuSampler

VOCABULARY, ROWS, SEEDED = 40_000, 40, 38
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bfloat16": {"dtype": torch.bfloat16},
    "temperature": {"temperature": 0.7},
    "top_p": {"top_p": 0.9, "dtype": torch.bfloat16},
    "no log-probs": {"logprobs": None},
    "greedy": {"temperature": None},
}


def metadata(
    temperature: float | None = 1.0, top_p: float | None = None, logprobs: int | None = 0
) -> SamplingMetadata:
    rows = torch.arange(ROWS) / ROWS
    nothing = torch.empty(0)
    return SamplingMetadata(
        temperature=None if temperature is None else temperature + rows,
        all_greedy=temperature is None,
        all_random=temperature is not None,
        top_p=None if top_p is None else top_p - rows / 2,
        top_k=None,
        generators={row: torch.Generator().manual_seed(row) for row in range(SEEDED)},
        max_num_logprobs=logprobs,
        no_penalties=True,
        prompt_token_ids=None,
        frequency_penalties=nothing,
        presence_penalties=nothing,
        repetition_penalties=nothing,
        output_token_ids=[[] for _ in range(ROWS)],
        allowed_token_ids_mask=None,
        bad_words_token_ids={},
        logitsprocs=LogitsProcessors(),
    )


def drawn(sampler: Any, dtype: torch.dtype = torch.float32, **asked: Any) -> list[Any]:
    """(tokens, log-probs) of the rows that have a seed, of two steps with the same generators."""
    made, logits = metadata(**asked), torch.Generator().manual_seed(0)
    found = []
    for _ in range(2):
        logits_BV = torch.randn(ROWS, VOCABULARY, generator=logits).mul(3).to(dtype)
        output = sampler(logits=logits_BV, sampling_metadata=made)  # as vLLM calls it
        logprobs = output.logprobs_tensors
        found.append(output.sampled_token_ids[:SEEDED].tolist())
        if logprobs is not None:
            found.append(logprobs.logprob_token_ids[:SEEDED].tolist())
            found.append(logprobs.logprobs[:SEEDED].tolist())
    return found


if __name__ == "__main__":
    theirs = Sampler()
    ours = CpuSampler(theirs)
    results = {name: (drawn(theirs, **case), drawn(ours, **case)) for name, case in CASES.items()}
    print(json.dumps(results))
