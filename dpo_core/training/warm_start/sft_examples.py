"""The rows of a supervised warm start: read, checked against the held-out prompts, tokenised."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dpo_core.config import SftConfig
from dpo_core.errors import BadInput
from dpo_core.full_disk import out_of_space
from dpo_core.import_path import load_function
from dpo_core.records import prompt_id
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


def load_examples(
    job: BaseJob, tokenizer: Any, longest: int
) -> tuple[list[Example], dict[str, Any]]:
    """The examples to train on, and rows_in, rows_kept and dropped (reason → rows).

    longest: tokens the model has positions for. Dropped are rows that are too_long, empty, or
    whose prompt is held_out. Raises BadInput when a row is unreadable or none is left.
    """
    assert job.sft is not None
    if tokenizer.eos_token_id is None:
        raise BadInput("the policy's tokenizer has no EOS token, so answers could never end")
    held_out = _held_out(job.held_out) | set(job.never)
    limit = min(longest, job.sft.max_length)
    kept: list[Example] = []
    dropped: Counter[str] = Counter()
    for rows in batched(_rows(job.sft, job.seed), _TOKENISED_AT_ONCE):
        for (prompt, completion), example in zip(rows, _encode(tokenizer, rows), strict=True):
            reason = _reason_to_drop(prompt, completion, example, held_out, limit)
            if reason is None:
                kept.append(example)
            else:
                dropped[reason] += 1
    if not kept:
        raise BadInput(
            f"no row is left to warm-start the policy with (dropped: {dict(dropped)})",
            "Give other rows under sft, or raise sft.max_length.",
        )
    rows_in = len(kept) + dropped.total()
    return kept, {"rows_in": rows_in, "rows_kept": len(kept), "dropped": dict(dropped)}


def _held_out(prompts: Path | None) -> frozenset[str]:
    rows = read_rows(prompts, ["prompt_id"]) if prompts is not None else []
    return frozenset(row["prompt_id"] for row in rows)


def _reason_to_drop(
    prompt: str, completion: str, example: Example, held_out: frozenset[str], limit: int
) -> str | None:
    if prompt_id(text=prompt, messages=None) in held_out:
        return "held_out"
    if not completion.strip() or not example.prompt_ids:
        return "empty"
    return "too_long" if example.length > limit else None


def _encode(tokenizer: Any, rows: Sequence[tuple[str, str]]) -> Iterator[Example]:
    """Prompts as they are sampled from: what the tokenizer adds, but no EOS behind them."""
    eos = tokenizer.eos_token_id
    prompts = tokenizer([prompt for prompt, _ in rows])["input_ids"]
    completions = tokenizer([text for _, text in rows], add_special_tokens=False)["input_ids"]
    for ids, completion_ids in zip(prompts, completions, strict=True):
        closed = len(ids) > 1 and ids[-1] == eos
        yield Example(list(ids[:-1] if closed else ids), [*completion_ids, eos])


def check_sft_rows(config: SftConfig) -> None:
    """Read the rows of `config.path` through. Raises BadInput at the first that is none."""
    for _ in _rows(config, 0):
        pass


def _rows(config: SftConfig, seed: int) -> Iterator[tuple[str, str]]:
    """(prompt, completion) of each row, in order."""
    fields = (config.prompt_field, config.completion_field)
    if config.function is not None:
        source, rows, fields = config.function, _called(config.function, seed), _FUNCTION_FIELDS
    elif config.path is not None:
        source, rows = config.path, _read(Path(config.path), fields)
    else:
        raise BadInput("sft: give exactly one of path and function (neither is given)")
    for number, row in enumerate(rows, 1):
        values = [row.get(field) for field in fields] if isinstance(row, Mapping) else [None]
        if not all(isinstance(value, str) for value in values):
            raise BadInput(
                f"{source}, row {number}: needs the texts {fields[0]!r} and {fields[1]!r}",
                "Name the fields with sft.prompt_field and sft.completion_field.",
            )
        yield values[0], values[1]  # type: ignore[misc]


def _called(path: str, seed: int) -> Iterator[Any]:
    try:
        yield from load_function(path)(seed)
    except BadInput:
        raise
    except Exception as error:
        if out_of_space(error):
            raise
        raise BadInput(f"{path} raised {type(error).__name__}: {error}") from error


def _read(path: Path, fields: tuple[str, str]) -> Iterator[Any]:
    if not path.is_file():
        raise BadInput(f"there is no file {path}", "Check sft.path.")
    if path.suffix == ".parquet":
        try:
            yield from iterate_rows(path)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise BadInput(f"{path} is not a parquet file that can be read: {error}") from None
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
