"""Reading the completions of a round back as records, grouped by prompt."""

from collections.abc import Iterator, Mapping
from itertools import groupby

from dpo_core.campaign.store import Artifact
from dpo_core.records import Completion, Prompt, prompt_from_row
from dpo_core.tables import iterate_rows, read_rows

_COLUMNS = ["completion_id", "prompt_id", "sample_index", "text", "token_ids", "finish_reason"]


def read_completions(completions: Artifact, prompts: Artifact) -> Iterator[Completion]:
    """The completions in the order of the file, each with its prompt."""
    by_id = read_prompts(prompts)
    for row in iterate_rows(completions.path("completions.parquet"), _COLUMNS):
        yield Completion(
            completion_id=row["completion_id"],
            prompt=by_id[row["prompt_id"]],
            text=row["text"],
            finish_reason=row["finish_reason"],
            tokens=len(row["token_ids"]),
            sample_index=row["sample_index"],
        )


def by_prompt(completions: Iterator[Completion]) -> Iterator[tuple[str, list[Completion]]]:
    """(prompt_id, its completions): a file holds the completions of one prompt together."""
    for prompt_id, group in groupby(completions, key=lambda c: c.prompt.prompt_id):
        yield prompt_id, list(group)


def read_prompts(prompts: Artifact) -> Mapping[str, Prompt]:
    rows = map(prompt_from_row, iterate_rows(prompts.path("prompts.parquet")))
    return {prompt.prompt_id: prompt for prompt in rows}


def read_scores(scores: Artifact | None) -> dict[str, float | None]:
    """completion_id → score, None for an abstention; empty when the judge reads pairs."""
    if scores is None:
        return {}
    rows = read_rows(scores.path("scores.parquet"), ["completion_id", "score"])
    return {row["completion_id"]: row["score"] for row in rows}
