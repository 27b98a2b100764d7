"""Sampling with vLLM; only modules of generation named vllm_* import it."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# One process and a bounded cache; vLLM reads both when it is imported.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# oneDNN caches compiled code for 1,024 batch shapes: hundreds of MiB that save no time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")

import torch

if not torch.cuda.is_available():
    # vLLM compiles two small sampler functions with a C++ compiler, which a plain machine lacks;
    # without them it is no slower and its first start is about 40 s shorter.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import vllm
from tqdm import tqdm
from transformers import AutoConfig
from vllm import LLM, SamplingParams, TokensPrompt
from vllm.platforms import current_platform

from dpo_core.errors import ChildFailed
from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Likelihood, Sample, SampleRequest, Tick
from generation.vllm_sampler import CpuSampler

_CPU_SEQUENCES = (512, 1024)
"""Fewest and most sequences per step on CPU; vLLM's default is 256. Small models spend most of a
step in Python: 512 sequences take 8 %, 1,024 take 10 % fewer CPU-seconds per token than 256. If the
cache holds fewer, the rest wait."""
_CPU_BLOCK_TOKENS = 32
"""Tokens per cache block; 32 is the kernel's minimum. vLLM's default of 128 takes 10 to 18 % more
CPU-seconds per token, 64 takes 3 % more (10 M parameters, prompts of 128 to 256 tokens)."""


class VllmEngine:
    """An Engine that replaces its weights in place, so that rounds share a process."""

    def __init__(self, config: SamplingConfig, policy: Path) -> None:
        self.config = config
        self._llm = LLM(str(policy), **_engine_arguments(config, policy))
        if current_platform.is_cpu():
            self._llm.collective_rpc(_sample_by_rows)
        self._loaded = policy
        # vLLM scores a sequence as a prompt and needs room for one token after it.
        self.max_model_len = int(self._llm.model_config.max_model_len) - 1

    def load(self, policy: Path) -> None:
        if policy == self._loaded:
            return
        self._llm.collective_rpc("reload_weights", kwargs={"weights_path": str(policy)})
        if current_platform.is_cpu():
            self._llm.apply_model(_repack_tied_head)
        self._forget_prefixes()  # those of the old weights would be used silently
        self._loaded = policy

    def sample(
        self, requests: Sequence[SampleRequest], tick: Tick, decoding: DecodingOptions | None = None
    ) -> list[list[Sample]]:
        self._forget_prefixes()  # a shard's last bits depend on no other shard
        chosen = decoding or DecodingOptions.from_config(self.config)
        prompts = [TokensPrompt(prompt_token_ids=request.prompt_token_ids) for request in requests]
        parameters = [_sampling_params(request, chosen) for request in requests]
        with _uncollected():
            outputs = self._llm.generate(prompts, parameters, use_tqdm=_ticker(tick))
        return [[_as_sample(sample) for sample in output.outputs] for output in outputs]

    def logps(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[float]:
        return [likelihood.logp for likelihood in self.likelihoods(prompts, completions)]

    def likelihoods(
        self, prompts: Sequence[list[int]], completions: Sequence[list[int]]
    ) -> list[Likelihood]:
        # vLLM scores a sequence as a prompt; the one token it must sample is discarded.
        parameters = SamplingParams(
            max_tokens=1, prompt_logprobs=0, detokenize=False, flat_logprobs=True
        )
        sequences = [p + c for p, c in zip(prompts, completions, strict=True)]
        inputs = [TokensPrompt(prompt_token_ids=sequence) for sequence in sequences]
        outputs = self._llm.generate(inputs, parameters, use_tqdm=False)
        return [
            _likelihood(output.prompt_logprobs, sequence, len(prompt))
            for output, sequence, prompt in zip(outputs, sequences, prompts, strict=True)
        ]

    def versions(self) -> dict[str, str]:
        return versions()

    def _forget_prefixes(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise ChildFailed("vLLM kept its prefix cache, though nothing is being sampled")


def versions() -> dict[str, str]:
    return {"vllm": vllm.__version__, "torch": torch.__version__}


def _sampling_params(request: SampleRequest, decoding: DecodingOptions) -> SamplingParams:
    # Flat log-probs cost 8 % of the speed, vLLM's objects with decoded tokens 25 %
    # (benchmarks/sampling.py). The worker decodes the tokens itself.
    return SamplingParams(
        n=request.n,
        seed=request.seed,
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        logprobs=0,
        flat_logprobs=True,
        detokenize=False,
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause Python's garbage collector, which took 3 % of the time with thousands of requests."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _engine_arguments(config: SamplingConfig, policy: Path) -> dict[str, object]:
    arguments: dict[str, object] = {
        "seed": 0,
        "max_model_len": config.max_model_len,
        "disable_log_stats": True,
        "logprobs_mode": "raw_logprobs",
        "generation_config": "vllm",
        "tensor_parallel_size": config.tensor_parallel_size,
    }
    device = "cpu" if current_platform.is_cpu() else "cuda"
    arguments["dtype"] = config.dtype_on(device)
    if device == "cpu":
        # Chunked prefill with seeded requests crashes the engine as soon as a prompt is split.
        arguments |= {
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "block_size": _CPU_BLOCK_TOKENS,
            "max_num_seqs": _cpu_sequences(config, policy),
        }
    else:
        arguments |= {"gpu_memory_utilization": config.gpu_memory_utilization}
    return arguments


def _cpu_sequences(config: SamplingConfig, policy: Path) -> int:
    """Sequences per step that fit the key-value cache at full length, within _CPU_SEQUENCES."""
    model = AutoConfig.from_pretrained(policy).get_text_config()
    heads = getattr(model, "num_key_value_heads", None) or model.num_attention_heads
    head_dim = getattr(model, "head_dim", None) or model.hidden_size // model.num_attention_heads
    token_bytes = 2 * model.num_hidden_layers * heads * head_dim * torch.float32.itemsize
    blocks = -(-(config.max_model_len or model.max_position_embeddings) // _CPU_BLOCK_TOKENS)
    cache_bytes = int(os.environ["VLLM_CPU_KVCACHE_SPACE"]) * 2**30
    fitting: int = cache_bytes // (token_bytes * blocks * _CPU_BLOCK_TOKENS)
    fewest, most = _CPU_SEQUENCES
    return max(fewest, min(most, fitting))


def _sample_by_rows(worker: Any) -> None:
    worker.model_runner.sampler = CpuSampler(worker.model_runner.sampler)


def _repack_tied_head(model: torch.nn.Module) -> None:
    """Repack the output head from the input embedding whose weights it shares.

    On CPU vLLM multiplies by a packed copy of the head. Reloading skips a tied head, so the copy
    would keep the old weights and the engine would silently sample from a mixture of two policies.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and getattr(model.config, "tie_word_embeddings", False):
        head.quant_method.process_weights_after_loading(head)


def _as_sample(output: Any) -> Sample:
    logprobs = output.logprobs
    # Entries of a position: the sampled token, then alternatives (none are requested).
    token_logps = [logprobs.logprobs[start] for start in logprobs.start_indices]
    return Sample(list(output.token_ids), token_logps, str(output.finish_reason))


def _likelihood(flat: Any, sequence: Sequence[int], scored_from: int) -> Likelihood:
    """Likelihood of the tokens from position `scored_from` on.

    The first token of a sequence counts 0, since nothing predicts it. Each position has an entry
    for its own token, with its rank in the vocabulary.
    """
    logp, greedy = 0.0, True
    for position in range(max(1, scored_from), len(sequence)):
        start, end = flat.start_indices[position], flat.end_indices[position]
        entry = flat.token_ids.index(sequence[position], start, end)
        logp += flat.logprobs[entry]
        greedy = greedy and flat.ranks[entry] == 1
    return Likelihood(logp, greedy)


def _ticker(tick: Tick) -> Any:
    """A tqdm class that reports finished completions and prints nothing."""

    class Ticker(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            with open(os.devnull, "w") as nowhere:
                super().__init__(*args, **{**kwargs, "file": nowhere, "mininterval": 3600.0})

        def update(self, n: float | None = 1) -> None:
            tick(int(n or 0))

        def refresh(self, *args: Any, **kwargs: Any) -> None:
            pass

        def close(self) -> None:
            pass

    return Ticker
