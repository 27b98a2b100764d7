"""Rows of a supervised warm start: reading, dropping held-out prompts, tokenising."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import TemplateError

from dpo_core.config import SftConfig
from dpo_core.errors import BadInput
from dpo_core.full_disk import is_out_of_space
from dpo_core.import_path import load_function
from dpo_core.records import Prompt, prompt_id
from dpo_core.tables import batched, iterate_rows, read_rows
from dpo_core.training.jobs import BaseJob

_TOKENISED_AT_ONCE = 1024
_FUNCTION_FIELDS = ("prompt", "completion")


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and its completion; the completion ends with EOS."""

    prompt_ids: list[int]
    completion_ids: list[int]

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def load_examples(job: BaseJob, tokenizer: Any, longest: int) -> tuple[list[Example], Counter[str]]:
    """The examples to train on, and how many rows were dropped for each reason.

    longest: longest sequence of the model, in tokens. Dropped are rows that are too_long, empty, or
    whose prompt is held_out. Raises BadInput when a row is unreadable or none is left.
    """
    assert job.sft is not None
    if tokenizer.eos_token_id is None:
        raise BadInput("the policy's tokenizer has no EOS token, so answers would never end")
    held_out = _held_out(job, tokenizer)
    limit = min(longest, job.sft.max_length)
    examples: list[Example] = []
    dropped: Counter[str] = Counter()
    for rows in batched(_rows(job.sft, job.seed), _TOKENISED_AT_ONCE):
        for (prompt, completion), example in zip(rows, _encode(tokenizer, rows), strict=True):
            bare = _without_bos(prompt, tokenizer)
            reason = _reason_to_drop(bare, completion, example, held_out, limit)
            if reason is None:
                examples.append(example)
            else:
                dropped[reason] += 1
    if not examples:
        raise BadInput(
            f"no rows are left for the warm start (dropped: {dict(dropped)})",
            "Give other rows under sft, or raise sft.max_length.",
        )
    return examples, dropped


def _held_out(job: BaseJob, tokenizer: Any) -> frozenset[str]:
    """Ids of all texts by which a row may contain a prompt that must not be trained on."""
    rows = read_rows(job.held_out, ["prompt_id", "messages"]) if job.held_out is not None else []
    talks = [row["messages"] for row in rows if row["messages"] is not None] + job.never_messages
    texts = (text for messages in talks for text in _as_texts(messages, tokenizer))
    ids = (prompt_id(text=_without_bos(text, tokenizer), messages=None) for text in texts)
    return frozenset([*(row["prompt_id"] for row in rows), *job.never, *ids])


def _as_texts(messages: Sequence[Mapping[str, str]], tokenizer: Any) -> Iterator[str]:
    """Yield the texts that data sets may use for a conversation: as people read it, a single user
    message alone, and rendered by the chat template with and without the generation prompt."""
    yield Prompt("", messages=tuple(messages)).shown()
    spoken = [message for message in messages if message["role"] != "system"]
    if len(spoken) == 1:
        yield spoken[0]["content"]
    if tokenizer.chat_template is None:
        return
    with suppress(TemplateError):  # a template that rejects these roles produced no such text
        for ask in (True, False):
            yield tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=ask
            )


def _without_bos(text: str, tokenizer: Any) -> str:
    """Remove BOS: templates write it, plain texts leave it to the tokenizer."""
    return text.removeprefix(tokenizer.bos_token or "")


def _reason_to_drop(
    prompt: str, completion: str, example: Example, held_out: frozenset[str], limit: int
) -> str | None:
    if prompt_id(text=prompt, messages=None) in held_out:
        return "held_out"
    if not completion.strip() or not example.prompt_ids:
        return "empty"
    return "too_long" if example.length > limit else None


def _encode(tokenizer: Any, rows: Sequence[tuple[str, str]]) -> Iterator[Example]:
    """Tokenise prompts as for sampling: with the tokenizer's special tokens, but without EOS."""
    eos = tokenizer.eos_token_id
    prompts = tokenizer([prompt for prompt, _ in rows])["input_ids"]
    completions = tokenizer([text for _, text in rows], add_special_tokens=False)["input_ids"]
    for ids, completion_ids in zip(prompts, completions, strict=True):
        closed = len(ids) > 1 and ids[-1] == eos
        yield Example(list(ids[:-1] if closed else ids), [*completion_ids, eos])


def check_sft_rows(config: SftConfig) -> None:
    """Read all rows of `config.path`. Raises BadInput at the first that is unusable."""
    for _ in _rows(config, 0):
        pass


def _rows(config: SftConfig, seed: int) -> Iterator[tuple[str, str]]:
    """(prompt, completion) of each row, in order."""
    fields = (config.prompt_field, config.completion_field)
    if config.function is not None:
        source, rows, fields = (
            config.function,
            _call_function(config.function, seed),
            _FUNCTION_FIELDS,
        )
    elif config.path is not None:
        source, rows = config.path, _read(Path(config.path), fields)
    else:
        raise BadInput("sft: give exactly one of path and function (neither is given)")
    for number, row in enumerate(rows, 1):
        values = [row.get(field) for field in fields] if isinstance(row, Mapping) else [None]
        if not all(isinstance(value, str) for value in values):
            raise BadInput(
                f"{source}, row {number}: needs the text fields {fields[0]!r} and {fields[1]!r}",
                "Name the fields with sft.prompt_field and sft.completion_field.",
            )
        yield values[0], values[1]  # type: ignore[misc]


def _call_function(path: str, seed: int) -> Iterator[Any]:
    try:
        yield from load_function(path)(seed)
    except BadInput:
        raise
    except Exception as error:
        if is_out_of_space(error):
            raise
        raise BadInput(f"{path} raised {type(error).__name__}: {error}") from error


def _read(path: Path, fields: tuple[str, str]) -> Iterator[Any]:
    if not path.is_file():
        raise BadInput(f"there is no file {path}", "Check sft.path.")
    if path.suffix == ".parquet":
        try:
            yield from iterate_rows(path)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise BadInput(f"{path} is not a readable parquet file: {error}") from None
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = str(line, "utf-8").strip()
                if text:
                    yield json.loads(text)
            except ValueError as error:
                raise BadInput(f"{path}:{number} is not JSON: {error}") from None
            except RecursionError:
                raise BadInput(f"{path}:{number} is nested too deeply") from None
