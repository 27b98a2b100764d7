"""Answers of another model as the token ids of a policy; runs in the sampling process, without an
engine."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from dpo_core.children import Report
from dpo_core.records import prompt_from_row
from dpo_core.schemas import COMPLETIONS
from dpo_core.tables import TEXTS_AT_ONCE, count_rows, iterate_rows, write_rows
from generation.imported import Encoder, PairDropped


@dataclass(frozen=True)
class RetokeniseJob:
    """`completions` that another model sampled for `prompts`, to be written to `out`. longest:
    tokens of prompt and answer."""

    prompts: Path
    completions: Path
    out: Path
    longest: int


def retokenise(
    tokenizer: PreTrainedTokenizerBase, policy: Path, job: RetokeniseJob, report: Report
) -> dict[str, Any]:
    """Prompt and answer of each completion as the policy would have them, without log-probs; a cut
    answer stays without EOS. Returns how many were kept and dropped.

    Dropped are answers that are `too_long` or hold `special_tokens`, and those to prompts whose
    chat the policy's template refuses (`template`). Raises BadInput for a tokenizer without EOS.
    """
    encoder = Encoder(tokenizer, policy, job.longest)
    prompts = {row["prompt_id"]: prompt_from_row(row) for row in iterate_rows(job.prompts)}
    total = count_rows(job.completions)
    dropped: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
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
    return {"kept": kept, "dropped": dict(sorted(dropped.items()))}
