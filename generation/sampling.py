"""Sample a prompt file into a completions file, shard by shard; runs in the sampling process."""

import time
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dpo_core.children import Report
from dpo_core.errors import PromptError
from dpo_core.hashing import content_id, derive_seed
from dpo_core.records import Prompt, prompt_from_row
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import iterate_slice, write_rows
from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Engine, Sample, SampleRequest
from generation.jobs import SampleJob, SampleResult
from generation.memory import HeapTrimmer

_REPORT_EVERY_S = 0.1


def sample_rows(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    job: SampleJob,
    config: SamplingConfig,
    report: Report,
) -> SampleResult:
    """Write `job.out` (schema COMPLETIONS) for the job's rows; returns counts and seconds.

    Skips a prompt that leaves no room for max_tokens.
    """
    started = time.monotonic()
    prompts = [prompt_from_row(r) for r in iterate_slice(job.source, job.first, job.count)]
    progress, heap = _Progress(report, len(prompts) * job.samples_per_prompt), HeapTrimmer()

    def tick(finished: int) -> None:
        progress.tick(finished)
        heap.tick()

    decoding = job.decoding or DecodingOptions.from_config(config)
    encoded = ((prompt, encode_prompt(tokenizer, prompt)) for prompt in prompts)
    room = engine.max_model_len - decoding.max_tokens
    fitting = [(prompt, ids) for prompt, ids in encoded if len(ids) <= room]
    requests = [
        SampleRequest(ids, derive_seed(job.seed, prompt.prompt_id), job.samples_per_prompt)
        for prompt, ids in fitting
    ]
    started_engine = time.monotonic()
    answers = engine.sample(requests, tick, decoding)
    seconds_engine = time.monotonic() - started_engine
    texts = iter(_decode(tokenizer, answers))
    rows = (
        _row(job.policy_id, prompt, request, index, sample, next(texts))
        for (prompt, _), request, samples in zip(fitting, requests, answers, strict=True)
        for index, sample in enumerate(samples)
    )
    write_rows(job.out, rows, COMPLETIONS)
    samples = [sample for each in answers for sample in each]
    return SampleResult(
        prompts=len(fitting),
        prompt_tokens=sum(len(ids) for _, ids in fitting),
        completions=len(samples),
        tokens=sum(len(sample.token_ids) for sample in samples),
        truncated=sum(sample.finish_reason == "length" for sample in samples),
        seconds_engine=seconds_engine,
        seconds=time.monotonic() - started,
    )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of a prompt: plain text by the tokenizer, chat through its template.

    Raises PromptError for chat messages when the tokenizer has no chat template.
    """
    if prompt.text is not None:
        ids = list(tokenizer(prompt.text)["input_ids"])
        # A tokenizer that appends EOS to every text would tell the policy it has finished.
        return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids
    if tokenizer.chat_template is None:
        raise PromptError(
            f"prompt {prompt.prompt_id} has chat messages, but the policy's tokenizer has no chat "
            "template",
            "Give plain `prompt` text, or a policy with a chat template.",
        )
    messages = [dict(message) for message in prompt.messages or ()]
    return list(
        tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=False
        )
    )


def load_tokenizer(model: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        model, revision=revision or "main"
    )
    return tokenizer


def _decode(tokenizer: PreTrainedTokenizerBase, answers: list[list[Sample]]) -> list[str]:
    ids = [sample.token_ids for samples in answers for sample in samples]
    texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def _row(
    policy: str, prompt: Prompt, request: SampleRequest, index: int, sample: Sample, text: str
) -> dict[str, object]:
    return {
        "completion_id": content_id(prompt.prompt_id, policy, index, sample.token_ids),
        "prompt_id": prompt.prompt_id,
        "sample_index": index,
        "text": text,
        "prompt_token_ids": request.prompt_token_ids,
        "token_ids": sample.token_ids,
        "token_logps": sample.token_logps,
        "finish_reason": sample.finish_reason,
        "seed": request.seed + index,
        "policy": policy,
    }


class _Progress:
    """Reports to the parent at most every _REPORT_EVERY_S, since a report costs both processes."""

    def __init__(self, report: Report, total: int) -> None:
        self.report = report
        self.total = total
        self.done = 0
        self._next = 0.0

    def tick(self, finished: int) -> None:
        self.done += finished
        now = time.monotonic()
        if now >= self._next or self.done == self.total:
            self._next = now + _REPORT_EVERY_S
            self.report(self.done, self.total, "completions")
