"""Judge models in vLLM: rewards by pooling, verdicts by constrained choice."""

from collections.abc import Sequence
from typing import Any

from generation.judge_jobs import Choice, JudgeModel, Message, Rating
from generation.judge_prompts import encode
from generation.sampling import load_tokenizer
from generation.vllm_engine import versions  # before vLLM: it sets what vLLM reads when imported

# isort: split
from vllm import LLM, PoolingParams, SamplingParams, TokensPrompt
from vllm.platforms import current_platform
from vllm.sampling_params import StructuredOutputsParams

_REPLY_TOKENS = 8
"""More tokens than the longest choice takes."""
_TOP_LOGPROBS = 20


class RewardModel:
    """A sequence classifier with one output."""

    def __init__(self, model: JudgeModel) -> None:
        self._llm = LLM(model.model, runner="pooling", **_arguments(model))
        self._tokenizer = load_tokenizer(model.model, model.revision)
        self._most = int(self._llm.model_config.max_model_len)

    def rate(self, conversations: Sequence[Sequence[Message]]) -> list[Rating]:
        """The raw output for each conversation, which ends with the answer to rate."""
        encoded = [encode(self._tokenizer, messages, ask=False) for messages in conversations]
        fitting = [ids for ids in encoded if len(ids) <= self._most]
        outputs = iter(
            self._llm.classify(
                [TokensPrompt(prompt_token_ids=ids) for ids in fitting],
                pooling_params=PoolingParams(use_activation=False),
                use_tqdm=False,
            )
            if fitting
            else ()
        )
        return [
            Rating(float(next(outputs).outputs.probs[0]))
            if len(ids) <= self._most
            else Rating(None, _too_long(len(ids), self._most))
            for ids in encoded
        ]


class ChoosingModel:
    """A language model that answers with one of the given choices."""

    def __init__(self, model: JudgeModel) -> None:
        # Log-probs are computed after masking everything but the choices.
        self._llm = LLM(model.model, **_arguments(model))
        self._tokenizer = load_tokenizer(model.model, model.revision)
        self._most = int(self._llm.model_config.max_model_len) - _REPLY_TOKENS

    def choose(self, questions: Sequence[tuple[Message, Sequence[str]]]) -> list[Choice]:
        """The most likely choice for each (question, choices)."""
        encoded = [encode(self._tokenizer, [message], ask=True) for message, _ in questions]
        asked = [
            (TokensPrompt(prompt_token_ids=ids), _parameters(choices))
            for ids, (_, choices) in zip(encoded, questions, strict=True)
            if len(ids) <= self._most
        ]
        prompts, parameters = [p for p, _ in asked], [p for _, p in asked]
        outputs = iter(self._llm.generate(prompts, parameters, use_tqdm=False) if asked else ())
        return [
            _as_choice(next(outputs))
            if len(ids) <= self._most
            else Choice("", failure=_too_long(len(ids), self._most))
            for ids in encoded
        ]


def _arguments(model: JudgeModel) -> dict[str, object]:
    arguments: dict[str, object] = {
        "seed": 0,
        "revision": model.revision,
        "tokenizer_revision": model.revision,
        "max_model_len": model.max_model_len,
        "disable_log_stats": True,
        "tensor_parallel_size": model.tensor_parallel_size,
    }
    if current_platform.is_cpu():
        dtype = "float32" if model.dtype == "auto" else model.dtype
        arguments |= {"dtype": dtype, "enforce_eager": True, "enable_chunked_prefill": False}
    else:
        memory = model.gpu_memory_utilization
        arguments |= {"dtype": model.dtype, "gpu_memory_utilization": memory}
    return arguments


def _parameters(choices: Sequence[str]) -> SamplingParams:
    return SamplingParams(
        temperature=0.0,
        max_tokens=_REPLY_TOKENS,
        logprobs=_TOP_LOGPROBS,
        structured_outputs=StructuredOutputsParams(choice=list(choices)),
    )


def _as_choice(output: Any) -> Choice:
    [reply] = output.outputs
    first = reply.logprobs[0] if reply.logprobs else {}
    return Choice(
        reply.text,
        {entry.decoded_token: float(entry.logprob) for entry in first.values()},
        len(output.prompt_token_ids),
        len(reply.token_ids),
    )


def _too_long(tokens: int, most: int) -> str:
    return f"{tokens:,} tokens exceed the {most:,} that the judge's model takes"


__all__ = ["ChoosingModel", "RewardModel", "versions"]
