"""Tokenise texts that the policy did not sample: imported pairs, and another model's completions.

Runs in the sampling process, without an engine.
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import TemplateError
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from dpo_core.children import Report
from dpo_core.errors import BadInput
from dpo_core.records import (
    ImportedRow,
    Prompt,
    imported_completion_id,
    prompt_from_row,
    prompt_id,
    prompt_row,
)
from dpo_core.schemas import COMPLETIONS, PREFERENCES, PROMPTS
from dpo_core.tables import (
    TEXTS_AT_ONCE,
    RowWriter,
    count_rows,
    iterate_as,
    iterate_rows,
    read_rows,
    write_rows,
)
from generation.jobs import RetokeniseJob, RetokeniseResult, TokeniseJob, TokeniseResult
from generation.sampling import encode_prompt

_POLICY = "imported"
"""`policy` of a completion that no policy of the campaign sampled."""


class PairDropped(Exception):
    """A pair that is not trained on; the message is the reason, one word."""


def tokenise_pairs(
    tokenizer: PreTrainedTokenizerBase, job: TokeniseJob, report: Report
) -> TokeniseResult:
    """Write prompts.parquet, completions.parquet and preferences.parquet.

    Drops a pair whose prompt is held out (`held_out`), that is too long (`too_long`), that has
    special tokens in an answer (`special_tokens`), or whose chat the policy's template refuses
    (`template`).

    Raises:
        BadInput: the tokenizer has no EOS.
    """
    encoder = Encoder(tokenizer, job.policy, job.longest or context_length(job.policy))
    files = [job.held_out, *([job.gate_pool] if job.gate_pool is not None else [])]
    held_out = {row["prompt_id"] for file in files for row in read_rows(file, ["prompt_id"])}
    total = count_rows(job.pairs)
    dropped: Counter[str] = Counter()
    with ExitStack() as stack:
        outputs = _Files.open(job, stack)
        for done, row in enumerate(iterate_as(job.pairs, ImportedRow, TEXTS_AT_ONCE), 1):
            try:
                prompt = _prompt(row, held_out)
                prompt_ids = encoder.prompt(prompt)
                texts = row["chosen"], row["rejected"]
                answers = [encoder.answer(prompt, text) for text in texts]
                encoder.check_length(prompt_ids, *answers)
                outputs.write(row, prompt, prompt_ids, answers)
            except PairDropped as reason:
                dropped[str(reason)] += 1
            if done % TEXTS_AT_ONCE == 0:
                report(done, total, "pairs")
    return TokeniseResult(
        rows=total,
        dropped=dict(sorted(dropped.items())),
        prompts=outputs.prompts.count,
        completions=outputs.completions.count,
        preferences=outputs.preferences.count,
        tokens=outputs.tokens,
    )


def context_length(policy: Path) -> int:
    """Most tokens that the model in the folder `policy` can attend to."""
    config = AutoConfig.from_pretrained(policy).get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 2**31 - 1)


def _prompt(row: ImportedRow, held_out: Set[str]) -> Prompt:
    """The row's prompt. Raises PairDropped when it is held out, as text or as a user message."""
    messages = tuple(row["messages"]) if row["messages"] is not None else None
    prompt = Prompt(row["prompt_id"], text=row["prompt"], messages=messages)
    if any(identity in held_out for identity in _ids(prompt)):
        raise PairDropped("held_out")
    return prompt


def _ids(prompt: Prompt) -> Iterator[str]:
    """Ids of the same question as plain text and as one user message."""
    yield prompt.prompt_id
    if prompt.text is not None:
        yield prompt_id(None, ({"role": "user", "content": prompt.text},))
    elif prompt.messages is not None:
        users = [m["content"] for m in prompt.messages if m["role"] != "system"]
        if len(users) == 1:
            yield prompt_id(users[0], None)
            yield prompt_id(None, ({"role": "user", "content": users[0]},))


class Encoder:
    """Encodes texts as the token ids that the policy would have sampled.

    longest: most tokens of prompt and answer together. Its methods raise PairDropped.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, policy: Path, longest: int) -> None:
        self._tokenizer = tokenizer
        self._longest = longest
        self._closing = _closing_ids(tokenizer, policy)
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._ends: dict[bool, int] = {}

    def prompt(self, prompt: Prompt) -> list[int]:
        try:
            ids = encode_prompt(self._tokenizer, prompt)
        except TemplateError:
            raise PairDropped("template") from None
        if not ids:
            raise PairDropped("empty_prompt")
        return ids

    def answer(self, prompt: Prompt, text: str, *, finished: bool = True) -> list[int]:
        """Token ids of an answer; a finished one ends with EOS."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        # A special token inside an answer would end it or open a new turn.
        if not self._special.isdisjoint(ids):
            raise PairDropped("special_tokens")
        return [*ids, self._end(prompt)] if finished else ids

    def check_length(self, prompt: Sequence[int], *answers: Sequence[int]) -> None:
        if len(prompt) + max(map(len, answers)) > self._longest:
            raise PairDropped("too_long")

    def _end(self, prompt: Prompt) -> int:
        """The token that ends an answer of the policy; in a chat, the one its template writes."""
        chat = prompt.messages is not None
        if chat not in self._ends:
            ids = self._template_ends() if chat else []
            ends = (i for i in ids if i in self._closing)
            self._ends[chat] = next(ends, self._tokenizer.eos_token_id)
        return self._ends[chat]

    def _template_ends(self) -> list[int]:
        """Token ids that the chat template writes after an answer."""
        user = {"role": "user", "content": "a"}
        opened = self._chat([user], add_generation_prompt=True)
        closed = self._chat([user, {"role": "assistant", "content": "a"}])
        return closed[len(opened) :] if closed[: len(opened)] == opened else []

    def _chat(self, messages: list[dict[str, str]], **options: Any) -> list[int]:
        ids: list[int] = self._tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=False, **options
        )
        return ids


def _closing_ids(tokenizer: PreTrainedTokenizerBase, policy: Path) -> set[int]:
    """Token ids that end an answer while the policy samples."""
    if tokenizer.eos_token_id is None:
        raise BadInput("the policy's tokenizer has no EOS token, so answers could never end")
    eos: int | list[int] | None = None
    if (policy / "generation_config.json").exists():
        eos = GenerationConfig.from_pretrained(policy).eos_token_id
    more = eos if isinstance(eos, list) else [eos] if eos is not None else []
    return {tokenizer.eos_token_id, *more}


@dataclass
class _Files:
    """The three output files; only the ids of rows already written stay in memory."""

    prompts: RowWriter
    completions: RowWriter
    preferences: RowWriter
    hard: bool
    tokens: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, job: TokeniseJob, stack: ExitStack) -> "_Files":
        def writer(name: str, schema: pa.Schema) -> RowWriter:
            return stack.enter_context(RowWriter(job.out_dir / f"{name}.parquet", schema))

        return cls(
            writer("prompts", PROMPTS),
            writer("completions", COMPLETIONS),
            writer("preferences", PREFERENCES),
            job.hard,
        )

    def write(
        self, row: ImportedRow, prompt: Prompt, prompt_ids: list[int], answers: list[list[int]]
    ) -> None:
        if prompt.prompt_id not in self.answers:
            self.prompts.write(prompt_row(prompt))
        chosen, rejected = (
            self._completion(prompt.prompt_id, text, prompt_ids, ids)
            for text, ids in zip((row["chosen"], row["rejected"]), answers, strict=True)
        )
        ids = {"prompt_id": prompt.prompt_id, "chosen": chosen, "rejected": rejected}
        p_chosen = 1.0 if self.hard else row["p_chosen"]
        self.preferences.write({**row, **ids, "p_chosen": p_chosen})

    def _completion(self, prompt: str, text: str, prompt_ids: list[int], ids: list[int]) -> str:
        """Write an answer unless an earlier pair had it; returns its id."""
        identity = imported_completion_id(prompt, text)
        if identity not in self.seen:
            self.seen.add(identity)
            self.tokens += len(ids)
            self.completions.write(
                {
                    "completion_id": identity,
                    "prompt_id": prompt,
                    "sample_index": self.answers[prompt],
                    "text": text,
                    "prompt_token_ids": prompt_ids,
                    "token_ids": ids,
                    "token_logps": None,
                    "finish_reason": "stop",
                    "seed": None,
                    "policy": _POLICY,
                }
            )
            self.answers[prompt] += 1
        return identity


def retokenise(
    tokenizer: PreTrainedTokenizerBase, job: RetokeniseJob, report: Report
) -> RetokeniseResult:
    """Write each completion with the policy's token ids and without log-probs.

    A truncated answer stays without EOS. Drops an answer that is too long (`too_long`), holds
    special tokens (`special_tokens`) or whose chat the policy's template refuses (`template`).

    Raises:
        BadInput: the tokenizer has no EOS.
    """
    encoder = Encoder(tokenizer, job.policy, job.longest or context_length(job.policy))
    prompts = {row["prompt_id"]: prompt_from_row(row) for row in iterate_rows(job.prompts)}
    total = count_rows(job.completions)
    dropped: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, object]]:
        read = iterate_rows(job.completions, batch_size=TEXTS_AT_ONCE)
        for done, row in enumerate(read, 1):
            prompt, finished = prompts[row["prompt_id"]], row["finish_reason"] == "stop"
            try:
                prompt_ids = encoder.prompt(prompt)
                ids = encoder.answer(prompt, row["text"], finished=finished)
                encoder.check_length(prompt_ids, ids)
                ours = {"prompt_token_ids": prompt_ids, "token_ids": ids, "token_logps": None}
                yield {**row, **ours}
            except PairDropped as reason:
                dropped[str(reason)] += 1
            if done % TEXTS_AT_ONCE == 0:
                report(done, total, "completions, token ids")

    kept = write_rows(job.out, rows(), COMPLETIONS)
    return RetokeniseResult(kept=kept, dropped=dict(sorted(dropped.items())))
