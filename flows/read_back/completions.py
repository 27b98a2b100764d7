"""Reading the completions of a round back as records, grouped by prompt: from the files that steps
wrote."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from dpo_core.records import Completion, Prompt, Score, prompt_from_row, score_from_row
from dpo_core.tables import iterate_rows, read_rows
from labeling.judges.answers import as_number
from labeling.judges.committee import Committee
from labeling.judges.config import AnyJudgeConfig, machines

ScoresBySource = Mapping[str, Mapping[str, Score]]
"""source → completion_id → score, of the judges that score."""

_COLUMNS = ["completion_id", "prompt_id", "sample_index", "text", "token_ids", "finish_reason"]


def read_completions(completions: Path, prompts: Path) -> Iterator[Completion]:
    """The completions in the order of the file, each with its prompt."""
    by_id = read_prompts(prompts)
    for row in iterate_rows(completions, _COLUMNS):
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


def read_prompts(prompts: Path) -> Mapping[str, Prompt]:
    rows = map(prompt_from_row, iterate_rows(prompts))
    return {prompt.prompt_id: prompt for prompt in rows}


def read_committee(scores: Iterable[Path], config: AnyJudgeConfig) -> Committee:
    """The scores of the judges together, from one or more files; none when none of them scores."""
    weights = {member.source: member.weight for member in machines(config)}
    together: dict[str, dict[str, float | None]] = defaultdict(dict)
    for file in scores:
        for source, found in read_scores_by_source(file).items():
            together[source] |= found
    return Committee(together, weights)


def read_scores_by_source(scores: Path) -> dict[str, dict[str, float | None]]:
    """source → completion_id → score, a finite number; None for an abstention."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for row in read_rows(scores, ["source", "completion_id", "score"]):
        found[row["source"]][row["completion_id"]] = as_number(row["score"])  # older files had NaN
    return found


def read_full_scores(scores: Path | None) -> ScoresBySource:
    """Scores with reason, reply and cost; empty when no judge scores."""
    found: dict[str, dict[str, Score]] = defaultdict(dict)
    if scores is not None:
        for row in iterate_rows(scores):
            found[row["source"]][row["completion_id"]] = score_from_row(row)
    return found
