"""Log-probs of given completions and texts; runs in the sampling process."""

from typing import cast

from transformers import PreTrainedTokenizerBase

from dpo_core.children import Report
from dpo_core.records import Prompt
from dpo_core.schemas import LIKELIHOODS, LOGPS, ContinuationRow
from dpo_core.tables import iterate_slice, write_rows
from generation.engine import Engine
from generation.jobs import ContinuationsJob, ContinuationsResult, EngineResult, ScoreJob
from generation.sampling import encode_prompt

_BATCH = 1024


def score_rows(engine: Engine, job: ScoreJob, report: Report) -> EngineResult:
    """Write the log-probs of the job's completions under the loaded policy (schema LOGPS)."""
    columns = ["completion_id", "prompt_token_ids", "token_ids"]
    rows = list(iterate_slice(job.source, job.first, job.count, columns))
    logps = engine.logps([r["prompt_token_ids"] for r in rows], [r["token_ids"] for r in rows])
    report(len(rows), len(rows), "completions, log-probs")
    scored = zip(rows, logps, strict=True)
    write_rows(
        job.out, ({"completion_id": r["completion_id"], "logp": logp} for r, logp in scored), LOGPS
    )
    return EngineResult()


def score_continuations(
    engine: Engine, tokenizer: PreTrainedTokenizerBase, job: ContinuationsJob, report: Report
) -> ContinuationsResult:
    """Score each of the job's continuations (schema CONTINUATIONS) under the loaded policy.

    Writes schema LIKELIHOODS. Skips a continuation that does not fit the context with its prompt.
    Returns how many were written.
    """
    given = cast(list[ContinuationRow], list(iterate_slice(job.source, job.first, job.count)))
    encoded = [(row["continuation_id"], *encode_pair(tokenizer, row)) for row in given]
    fits = [e for e in encoded if len(e[1]) + len(e[2]) <= engine.max_model_len]
    likelihoods = engine.likelihoods([ids for _, ids, _ in fits], [ids for _, _, ids in fits])
    report(len(given), len(given), "continuations")
    rows = (
        {
            "continuation_id": identity,
            "prompt_token_ids": prompt,
            "token_ids": continuation,
            "logp": likelihood.logp,
            "greedy": likelihood.greedy,
        }
        for (identity, prompt, continuation), likelihood in zip(fits, likelihoods, strict=True)
    )
    return ContinuationsResult(continuations=write_rows(job.out, rows, LIKELIHOODS))


def encode_pair(
    tokenizer: PreTrainedTokenizerBase, row: ContinuationRow
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of its continuation, as lm-evaluation-harness splits them.

    The continuation's ids are those that prompt and continuation together have beyond the
    prompt's. Trailing spaces of the prompt move to the continuation, since most tokenizers merge
    them with the next word. An empty prompt becomes BOS, or EOS where there is no BOS.
    """
    messages, text = row["messages"], row["prompt"] or ""
    chat = messages is not None
    if chat:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = text.rstrip()
    continuation = text[len(prompt) :] + row["continuation"]
    if not prompt:
        bos = tokenizer.bos_token_id
        first = tokenizer.eos_token_id if bos is None else bos
        return [first], list(tokenizer(continuation, add_special_tokens=False)["input_ids"])
    ids, whole = (_encode(tokenizer, part, chat=chat) for part in (prompt, prompt + continuation))
    return ids, whole[len(ids) :]


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, *, chat: bool) -> list[int]:
    """Token ids; text from a chat template already holds its special tokens."""
    if chat:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return encode_prompt(tokenizer, Prompt("", text=text))
