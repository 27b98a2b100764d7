"""How likely given texts are after given prompts; runs in the sampling process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dpo_core.children import Report
from dpo_core.records import Prompt
from dpo_core.schemas import LIKELIHOODS, LOGPS
from dpo_core.tables import batched, count_rows, iterate_rows, write_rows
from generation.engine import Engine
from generation.sampling import encode_prompt

_AT_ONCE = 1024


def score_file(engine: Engine, completions: Path, out: Path, report: Report) -> None:
    """Write the log-prob of every completion of a file under the loaded policy (schema LOGPS)."""
    columns = ["completion_id", "prompt_token_ids", "token_ids"]
    total = count_rows(completions)

    def rows() -> Iterator[dict[str, Any]]:
        done = 0
        for batch in batched(iterate_rows(completions, columns), 1024):
            logps = engine.logps(
                [r["prompt_token_ids"] for r in batch], [r["token_ids"] for r in batch]
            )
            done += len(batch)
            report(done, total, "completions, log-probs")
            for row, logp in zip(batch, logps, strict=True):
                yield {"completion_id": row["completion_id"], "logp": logp}

    write_rows(out, rows(), LOGPS)


def score_continuations(
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    continuations: Path,
    out: Path,
    report: Report,
) -> dict[str, Any]:
    """Write how likely each text of a file (schema CONTINUATIONS) is to the loaded policy (schema
    LIKELIHOODS). One that is too long with its prompt is left out."""
    total = count_rows(continuations)

    def rows() -> Iterator[dict[str, Any]]:
        done = 0
        for batch in batched(iterate_rows(continuations), _AT_ONCE):
            encoded = [(row["continuation_id"], *encode_pair(tokenizer, row)) for row in batch]
            fits = [e for e in encoded if len(e[1]) + len(e[2]) <= engine.max_model_len]
            found = engine.likelihoods([ids for _, ids, _ in fits], [ids for _, _, ids in fits])
            done += len(batch)
            report(done, total, "continuations")
            for (identity, prompt, continuation), likelihood in zip(fits, found, strict=True):
                yield {
                    "continuation_id": identity,
                    "prompt_token_ids": prompt,
                    "token_ids": continuation,
                    "logp": likelihood.logp,
                    "greedy": likelihood.greedy,
                }

    return {"continuations": write_rows(out, rows(), LIKELIHOODS)}


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """(ids of the prompt, ids of the continuation): what the text of both has more than the prompt.

    As lm-evaluation-harness does it: spaces at a prompt's end belong to what follows, for most
    tokenizers make one token of them and the next word. After no prompt at all stands what begins
    a text, or ends one.
    """
    chat = row["messages"] is not None
    written: str = row["prompt"]
    if chat:
        written = tokenizer.apply_chat_template(
            row["messages"], tokenize=False, add_generation_prompt=True
        )
    prompt = written.rstrip()
    text = written[len(prompt) :] + row["continuation"]
    if not prompt:
        begins = tokenizer.bos_token_id
        first = tokenizer.eos_token_id if begins is None else begins
        return [first], list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids, whole = (_encode(tokenizer, part, chat=chat) for part in (prompt, prompt + text))
    return ids, whole[len(ids) :]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, *, chat: bool) -> list[int]:
    """A chat template has written its special tokens itself."""
    if chat:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return encode_prompt(tokenizer, Prompt("", text=text))
