"""Relevance of answers to their requests, by the base's log-probs, with intervals."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypedDict, get_args

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import change_by_prompt, share_by_prompt
from dpo_core.evaluation.intervals import columns
from dpo_core.evaluation.ratios import Ratio, ratio
from dpo_core.evaluation.relevance import AnswerPlacement, Verdict, verdicts
from dpo_core.tables import iterate_as, read_rows
from dpo_core.text import counted
from flows.round_state import EvaluatedPolicy


class _AnswerRow(TypedDict):
    """Columns of COMPLETIONS."""

    completion_id: str
    prompt_id: str
    prompt_token_ids: list[int]
    token_ids: list[int]
    finish_reason: str


def relevance_inputs(policies: Mapping[str, EvaluatedPolicy]) -> dict[str, Input]:
    """<name>_relevance of each policy; empty where the candidate's was not measured."""
    if policies["candidate"].relevance is None:
        return {}
    steps = {name: p.relevance for name, p in policies.items() if p.relevance is not None}
    return {f"{name}_relevance": s.input("relevance.parquet") for name, s in steps.items()}


@dataclass(frozen=True)
class RelevanceCounts:
    """One policy's answers with the verdicts on them."""

    answers: Sequence[AnswerPlacement]
    verdicts: Sequence[Verdict]

    @property
    def relevant(self) -> dict[str, bool]:
        """prompt_id → whether its answer is relevant; without answers that had no other request."""
        pairs = zip(self.answers, self.verdicts, strict=True)
        return {a.prompt_id: verdict == "relevant" for a, verdict in pairs if verdict != "alone"}

    def nats(self, config: EvaluationConfig) -> Ratio | None:
        """−log π_0 per token of the finished answers."""
        finished = [a for a in self.answers if a.finished and not a.empty]
        if not finished:
            return None
        return ratio(
            [-a.logps[0] for a in finished],
            [float(len(a.tokens)) for a in finished],
            groups=[a.prompt_id for a in finished],
            confidence=config.confidence,
        )


def measure_relevance(
    inputs: Inputs, config: EvaluationConfig
) -> tuple[dict[str, float | None], dict[str, dict[str, int]]]:
    """(relevance and base_nats_per_token with intervals, of the policy and its opponents, and the
    paired change per prompt; the column of counts), both empty where relevance is not measured.

    Unknown values are None. Empty answers are not relevant; see dpo_core.evaluation.relevance.
    """
    ours = _read(inputs, "candidate")
    if ours is None:
        return {}, {}
    nats = ours.nats(config)
    relevant = [(prompt, float(value)) for prompt, value in ours.relevant.items()]
    numbers = {
        **columns("relevance", share_by_prompt(relevant, config)),
        **columns("base_nats_per_token", nats.interval if nats is not None else None),
    }
    for name in ("previous", "base"):
        numbers |= _compare(name, ours, _read(inputs, name), config)
    return numbers, {"relevance_counts": _counts(ours)}


def relevance_warnings(
    number: int, wanted: int | None, counts: Mapping[str, int] | None
) -> Iterator[tuple[str, str]]:
    """(name, sentence) in round 1, if there are fewer requests than wanted."""
    count = counts["requests"] if counts is not None else None
    if number == 1 and wanted is not None and count is not None and count < wanted:
        yield (
            "requests",
            f"Relevance is measured among {counted(count, 'request')} and not {wanted}: there are "
            "no more held-out prompts.",
        )


def _compare(
    name: str, ours: RelevanceCounts, theirs: RelevanceCounts | None, config: EvaluationConfig
) -> dict[str, float | None]:
    """An opponent's estimates, and the change since it on prompts that both answered."""
    shared = sorted(ours.relevant.keys() & theirs.relevant.keys()) if theirs is not None else []
    changes = [(p, float(ours.relevant[p]) - theirs.relevant[p]) for p in shared if theirs]
    nats = theirs.nats(config) if theirs is not None else None
    estimates = {
        "relevance": fmean(theirs.relevant.values()) if theirs and theirs.relevant else None,
        "base_nats_per_token": nats.interval.estimate if nats else None,
    }
    return {
        **{f"{key}_{name}": value for key, value in estimates.items()},
        **columns(f"relevance_change_{name}", change_by_prompt(changes, config)),
    }


def _counts(read: RelevanceCounts) -> dict[str, int]:
    """The most requests an answer was placed among, and the answers in all and by verdict."""
    by_verdict = Counter(read.verdicts)
    return {
        "requests": max((len(answer.logps) for answer in read.answers), default=0),
        "answers": len(read.answers),
        **{name.replace(" ", "_"): by_verdict[name] for name in get_args(Verdict)},
    }


def _read(inputs: Inputs, name: str) -> RelevanceCounts | None:
    """None for a policy whose relevance was not measured."""
    placed = inputs.find(f"{name}_relevance")
    return read_relevance(placed, inputs.path(f"{name}_answers")) if placed is not None else None


def read_relevance(placed: Path, answers: Path) -> RelevanceCounts:
    """What step `answer_relevance` wrote for a file of answers."""
    logps = {row["completion_id"]: row["logps"] for row in read_rows(placed)}
    placements = list(read_placements(answers, logps).values())
    return RelevanceCounts(placements, verdicts(placements))


def read_placements(
    answers: Path, logps: Mapping[str, Sequence[float]]
) -> dict[str, AnswerPlacement]:
    """completion_id → answer with its `logps`, in the file's order; empty answers have none."""
    return {
        row["completion_id"]: AnswerPlacement(
            prompt_id=row["prompt_id"],
            prompt=row["prompt_token_ids"],
            tokens=row["token_ids"],
            finished=row["finish_reason"] == "stop",
            empty=not placed,
            logps=placed,
        )
        for row in iterate_as(answers, _AnswerRow)
        if (placed := logps.get(row["completion_id"])) is not None
    }
