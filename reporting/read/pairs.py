"""Training pairs with the verdicts of judges and people."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dpo_core.campaign.artifacts import current_artifact
from dpo_core.campaign.layout import Layout
from dpo_core.records import PromptRow, prompt_from_row
from dpo_core.tables import iterate_as, read_rows
from reporting.read.samples import SampledAnswer, SampleRow, SourceVerdict, read_scores, tags

PAIRS_SHOWN = 1_000
PAIRS_OF_A_ROUND = 200
"""Most training pairs in the report, and of one round: the last rounds first, and in each the pairs
that people judged."""


def training_rows(layout: Layout, planned: int) -> Iterator[SampleRow]:
    """Pairs of the last rounds as rows of the sample browser."""
    left = PAIRS_SHOWN
    for number in range(planned, 0, -1):
        for row in _round_rows(layout, number, min(left, PAIRS_OF_A_ROUND)):
            left -= 1
            yield row


def _round_rows(layout: Layout, number: int, limit: int) -> Iterator[SampleRow]:
    names = ("prompts", "completions", "pairs", "judgements")
    steps = {name: current_artifact(layout, number, name) for name in names}
    if limit <= 0 or any(step is None for step in steps.values()):
        return
    paths = {name: step.path(f"{name}.parquet") for name, step in steps.items() if step}
    verdicts = _verdicts_by_pair(layout, number, paths["judgements"])
    pairs = sorted(
        read_rows(paths["pairs"]),
        key=lambda pair: not any(given.person for _, given in verdicts[pair["pair_id"]]),
    )[:limit]
    prompts = {
        row["prompt_id"]: prompt_from_row(row) for row in iterate_as(paths["prompts"], PromptRow)
    }
    answers = _answers(layout, number, paths["completions"], {p[s] for p in pairs for s in "ab"})
    for pair in pairs:
        prompt = prompts.get(pair["prompt_id"])
        if prompt is not None and pair["a"] in answers and pair["b"] in answers:
            sides = tuple(
                _side(answers[pair[side]], side, verdicts[pair["pair_id"]]) for side in "ab"
            )
            yield SampleRow(prompt.shown(), sides, "training", pair["pair_id"], tags(prompt))


def _answers(
    layout: Layout, number: int, path: Path, wanted: set[str]
) -> Mapping[str, SampledAnswer]:
    """Completion id → answer, which the policy that the round started from has sampled."""
    scores = read_scores(current_artifact(layout, number, "scores"))
    columns = ["completion_id", "text", "finish_reason"]
    return {
        key: SampledAnswer(number, row["text"], *scores.get(key, (None, "")), row["finish_reason"])
        for row in read_rows(path, columns)
        if (key := row["completion_id"]) in wanted
    }


def _side(
    answer: SampledAnswer, side: str, given: list[tuple[str | None, SourceVerdict]]
) -> SampledAnswer:
    """The answer with what was said of it as side `a` or `b` of a pair."""
    name = f"round {answer.round}, answer {side.upper()}"
    verdicts = tuple(
        SourceVerdict(source.source, _verdict_text(verdict, side), source.reason, source.person)
        for verdict, source in given
    )
    return replace(answer, name=name, verdicts=verdicts)


def _verdict_text(verdict: str | None, side: str) -> str:
    if verdict in ("a", "b"):
        return "preferred" if verdict == side else "not preferred"
    return {"tie": "tie", "both_bad": "both bad"}.get(verdict or "", "no verdict")


def _verdicts_by_pair(
    layout: Layout, number: int, judgements: Path
) -> Mapping[str, list[tuple[str | None, SourceVerdict]]]:
    """Pair id → (verdict, its source), judges first."""
    verdicts: dict[str, list[tuple[str | None, SourceVerdict]]] = defaultdict(list)
    for row in read_rows(judgements, ["pair_id", "source", "verdict", "reason"]):
        source = SourceVerdict(row["source"], "", row["reason"] or "")
        verdicts[row["pair_id"]].append((row["verdict"], source))
    labels = current_artifact(layout, number, "labels")
    if labels is not None:
        columns = ["pair_id", "kind", "annotator", "verdict", "comment"]
        for row in read_rows(labels.path("labels.parquet"), columns):
            source = SourceVerdict(row["annotator"], "", row["comment"] or "", person=True)
            verdicts[row["pair_id"]].append((row["verdict"], source))
    return verdicts
