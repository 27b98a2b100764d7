"""Sample a prompt file into a completions file, shard by shard; runs in the sampling process."""

import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dpo_core.atomic import write_atomic
from dpo_core.children import Report
from dpo_core.errors import PromptError
from dpo_core.hashing import content_id, derive_seed
from dpo_core.records import Prompt, prompt_from_row
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import batched, concatenate, count_rows, iterate_rows, write_rows
from generation.config import SamplingConfig
from generation.engine import DecodingOptions, Engine, Sample, SampleRequest, Tick
from generation.jobs import SampleJob, SampleResult
from generation.memory import HeapTrimmer

_REPORT_EVERY_S = 0.1


def sample_file(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    job: SampleJob,
    config: SamplingConfig,
    report: Report,
) -> SampleResult:
    """Write `job.out` (schema COMPLETIONS); returns counts and seconds.

    Skips a prompt that leaves no room for max_tokens.
    """
    started = time.monotonic()
    total = count_rows(job.prompts) * job.samples_per_prompt
    progress, heap = _Progress(report, total), HeapTrimmer()

    def tick(finished: int) -> None:
        progress.tick(finished)
        heap.tick()

    paths: list[Path] = []
    seconds_engine = 0.0
    rows = (prompt_from_row(row) for row in iterate_rows(job.prompts))
    for number, prompts in enumerate(batched(rows, config.shard_prompts)):
        path = job.shards / f"{number:05d}.parquet"
        paths.append(path)
        if path.exists():
            tick(len(prompts) * job.samples_per_prompt)
            continue
        seconds_engine += _sample_shard(engine, tokenizer, job, config, prompts, path, tick)
    concatenate(paths, job.out, COMPLETIONS)
    shutil.rmtree(job.shards)  # also removes a half-written shard of a killed run
    seconds = time.monotonic() - started
    return SampleResult(**_count(job.out), seconds_engine=seconds_engine, seconds=seconds)


def _sample_shard(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    job: SampleJob,
    config: SamplingConfig,
    prompts: list[Prompt],
    path: Path,
    tick: Tick,
) -> float:
    """Sample one shard and write it atomically; returns the engine's seconds."""
    encoded = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    decoding = job.decoding or DecodingOptions.from_config(config)
    room = engine.max_model_len - decoding.max_tokens
    fitting = [(p, ids) for p, ids in zip(prompts, encoded, strict=True) if len(ids) <= room]
    requests = [
        SampleRequest(ids, derive_seed(job.seed, prompt.prompt_id), job.samples_per_prompt)
        for prompt, ids in fitting
    ]
    started = time.monotonic()
    answers = engine.sample(requests, tick, decoding)
    seconds = time.monotonic() - started
    texts = iter(_decode(tokenizer, answers))
    rows = (
        _row(job.policy_id, prompt, request, index, sample, next(texts))
        for (prompt, _), request, samples in zip(fitting, requests, answers, strict=True)
        for index, sample in enumerate(samples)
    )
    write_atomic(path, lambda beside: write_rows(beside, rows, COMPLETIONS))
    return seconds


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


def _count(completions: Path) -> dict[str, int]:
    """Counts over a completions file, streamed; a prompt is counted at its first sample."""
    counts = {"prompts": 0, "prompt_tokens": 0, "completions": 0, "tokens": 0, "truncated": 0}
    columns = ["sample_index", "prompt_token_ids", "token_ids", "finish_reason"]
    with pq.ParquetFile(completions) as file:
        for batch in file.iter_batches(columns=columns):
            first = pc.equal(batch["sample_index"], 0)
            counts["prompts"] += _sum(first)
            lengths = pc.list_value_length(batch["prompt_token_ids"])
            counts["prompt_tokens"] += _sum(pc.filter(lengths, first))
            counts["completions"] += batch.num_rows
            counts["tokens"] += _sum(pc.list_value_length(batch["token_ids"]))
            counts["truncated"] += _sum(pc.equal(batch["finish_reason"], "length"))
    return counts


def _sum(values: pa.Array) -> int:
    return int(pc.sum(values, min_count=0).as_py())


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
