"""Read the files of steps as records."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.store import Store
from dpo_core.records import (
    Completion,
    Judgement,
    Pair,
    Prompt,
    PromptRow,
    Score,
    ScoreRow,
    person,
    prompt_from_row,
    score_from_row,
)
from dpo_core.tables import iterate_as, iterate_rows, read_columns, read_rows
from labeling.aggregation.calibration import Reliability
from labeling.judges.answers import as_number
from labeling.judges.committee import Committee
from labeling.judges.config import AnyJudgeConfig, machines
from labeling.pairs.for_people import PairCandidate, policy_uncertainty

ScoresBySource = Mapping[str, Mapping[str, Score]]
"""source → completion_id → score."""

_COLUMNS = ["completion_id", "prompt_id", "sample_index", "text", "token_ids", "finish_reason"]


def read_completions(completions: Path, prompts: Path) -> Iterator[Completion]:
    """The completions with their prompts, in the file's order."""
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


def group_by_prompt(completions: Iterator[Completion]) -> Iterator[tuple[str, list[Completion]]]:
    """(prompt_id, its completions); a file has the completions of a prompt together."""
    for prompt_id, group in groupby(completions, key=lambda c: c.prompt.prompt_id):
        yield prompt_id, list(group)


def read_prompts(prompts: Path) -> Mapping[str, Prompt]:
    rows = map(prompt_from_row, iterate_as(prompts, PromptRow))
    return {prompt.prompt_id: prompt for prompt in rows}


def read_committee(scores: Iterable[Path], config: AnyJudgeConfig) -> Committee:
    """The scores of all judges, from one or more files; empty if no judge scores."""
    weights = {member.source: member.weight for member in machines(config)}
    by_source: dict[str, dict[str, float | None]] = defaultdict(dict)
    for file in scores:
        for source, given in read_scores_by_source(file).items():
            by_source[source] |= given
    return Committee(by_source, weights)


def read_scores_by_source(scores: Path) -> dict[str, dict[str, float | None]]:
    """source → completion_id → finite score; None for an abstention."""
    by_source: dict[str, dict[str, float | None]] = defaultdict(dict)
    for row in read_rows(scores, ["source", "completion_id", "score"]):  # older files have NaN
        by_source[row["source"]][row["completion_id"]] = as_number(row["score"])
    return by_source


def read_full_scores(scores: Path | None) -> ScoresBySource:
    """Scores with reason, reply and cost; empty if no judge scores."""
    by_source: dict[str, dict[str, Score]] = defaultdict(dict)
    if scores is not None:
        for row in iterate_as(scores, ScoreRow):
            by_source[row["source"]][row["completion_id"]] = score_from_row(row)
    return by_source


def read_candidates(pairs: Path, judgements: Path | None, completions: Path) -> list[PairCandidate]:
    """One candidate for labelling per pair, in the file's order; `judgements`: of machines."""
    rows = read_rows(pairs, ["pair_id", "a", "b", "margin"])
    by_pair = read_judgements(judgements)
    wanted = {row[side] for row in rows for side in ("a", "b")}
    answers = iterate_rows(completions, ["completion_id", "token_logps"])
    logps = {r["completion_id"]: r["token_logps"] for r in answers if r["completion_id"] in wanted}
    return [
        PairCandidate(
            row["pair_id"],
            tuple(by_pair.get(row["pair_id"], ())),
            row["margin"],
            policy_uncertainty(logps[row["a"]], logps[row["b"]]),
        )
        for row in rows
    ]


def read_pairs(pairs: Path, completions: Path, prompts: Path) -> list[Pair]:
    """The pairs of a round with their completions, in the file's order."""
    return build_pairs(pairs, {c.completion_id: c for c in read_completions(completions, prompts)})


def build_pairs(pairs: Path, by_id: Mapping[str, Completion]) -> list[Pair]:
    """As `read_pairs`, for completions that are read already."""
    rows = read_rows(pairs)
    return [Pair(row["pair_id"], by_id[row["a"]], by_id[row["b"]]) for row in rows]


def read_judgements(judgements: Path | None) -> dict[str, list[Judgement]]:
    """pair_id → judgements of machines, without reasons and replies."""
    by_pair: dict[str, list[Judgement]] = defaultdict(list)
    if judgements is not None:
        names = ("verdict", "confidence", "forward", "backward")
        for row in iterate_rows(judgements, ["pair_id", *names]):
            by_pair[row["pair_id"]].append(Judgement(**{name: row[name] for name in names}))
    return by_pair


def read_reliability(reliability: Path | None) -> list[Reliability]:
    """Reliability of each judgement of the round; empty without calibration."""
    rows = read_rows(reliability) if reliability is not None else []
    return [Reliability(**row) for row in rows]


_FILES = {"judgements": ("judgements.parquet", "source"), "labels": ("labels.parquet", "annotator")}
"""step → (its file, the column of the source)"""


def count_by_source(*steps: Artifact | None) -> Counter[str]:
    """source → number of its judgements in steps `judgements` and `labels`."""
    return sum(map(_count_sources, filter(None, steps)), Counter[str]())


def find_retracted(retracted: Collection[str], *steps: Artifact | None) -> list[str]:
    """The retracted sources that occur in these steps."""
    return sorted(count_by_source(*steps).keys() & set(retracted)) if retracted else []


def find_all_sources(store: Store) -> set[str]:
    """Every source that ever judged in the campaign, also in rounds that are no longer valid."""
    sources = set[str]()
    for entry in store.entries:
        folder = store.layout.step(entry.round, entry.step, entry.fingerprint)
        if entry.step in _FILES and folder.exists():
            sources |= _count_sources(Artifact(folder, entry, cached=True)).keys()
    return sources


def _count_sources(artifact: Artifact) -> Counter[str]:
    name, column = _FILES[artifact.entry.step]
    counts = read_columns(artifact.path(name), [column])[column].value_counts().to_pylist()
    source = person if artifact.entry.step == "labels" else str
    return Counter({source(each["values"]): each["counts"] for each in counts})
