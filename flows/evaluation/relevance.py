"""Whether answers belong to their requests: what the base makes of them, with intervals."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from dpo_core.campaign.inputs import Input, Inputs
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import change_by_prompt, share_by_prompt
from dpo_core.evaluation.intervals import Interval, columns
from dpo_core.evaluation.ratios import Ratio, ratio
from dpo_core.evaluation.relevance import AnswerPlacement, Verdict, verdicts
from dpo_core.tables import iterate_rows, read_rows
from dpo_core.text import counted
from flows.round_state import EvaluatedPolicy

_COLUMNS = ["completion_id", "prompt_id", "prompt_token_ids", "token_ids", "finish_reason"]


def relevance_inputs(answered: Mapping[str, EvaluatedPolicy]) -> dict[str, Input]:
    """What the base made of everybody's answers; nothing where the candidate's were not asked
    about."""
    if answered["candidate"].relevance is None:
        return {}
    found = {who: one.relevance for who, one in answered.items() if one.relevance is not None}
    return {f"{who}_relevance": made.input("relevance.parquet") for who, made in found.items()}


@dataclass(frozen=True)
class RelevanceCounts:
    """What became of the answers of one policy."""

    answers: Sequence[AnswerPlacement]
    verdicts: Sequence[Verdict]

    @property
    def relevant(self) -> dict[str, bool]:
        """prompt_id → whether its answer is; without those that had no other request."""
        both = zip(self.answers, self.verdicts, strict=True)
        return {a.prompt_id: verdict == "relevant" for a, verdict in both if verdict != "alone"}

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


def measure_relevance(inputs: Inputs, config: EvaluationConfig) -> dict[str, Any]:
    """relevance and base_nats_per_token with intervals, the others' beside them, and what changed,
    prompt by prompt; nothing where it is not measured.

    What cannot be told is None. Empty answers are not relevant; see dpo_core.evaluation.relevance.
    """
    ours = _asked(inputs, "candidate")
    if ours is None:
        return {}
    nats = ours.nats(config)
    numbers = {
        **columns("relevance", _share(ours.relevant, config)),
        **columns("base_nats_per_token", nats.interval if nats is not None else None),
        "relevance_counts": _counts(ours),
    }
    for name in ("previous", "base"):
        theirs = _asked(inputs, name)
        numbers |= _beside(name, ours, theirs, config)
    return numbers


def relevance_warnings(number: int, wanted: int | None, numbers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, sentence) where there were fewer requests than are wanted: said once."""
    found = (numbers.get("relevance_counts") or {}).get("requests")
    if number == 1 and wanted is not None and found is not None and found < wanted:
        yield (
            "requests",
            f"Relevance is measured among {counted(found, 'request')} and not {wanted}: there are "
            "no more held-out prompts.",
        )


def _beside(
    name: str, ours: RelevanceCounts, theirs: RelevanceCounts | None, config: EvaluationConfig
) -> dict[str, Any]:
    """The numbers of another policy, and the change since it on prompts that both answered."""
    shared = sorted(ours.relevant.keys() & theirs.relevant.keys()) if theirs is not None else []
    changes = [(p, float(ours.relevant[p]) - theirs.relevant[p]) for p in shared if theirs]
    nats = theirs.nats(config) if theirs is not None else None
    estimates = {
        "relevance": _mean(theirs.relevant.values()) if theirs is not None else None,
        "base_nats_per_token": nats and nats.interval.estimate,
    }
    return {
        **{f"{key}_{name}": value for key, value in estimates.items()},
        **columns(f"relevance_change_{name}", change_by_prompt(changes, config)),
    }


def _share(relevant: Mapping[str, bool], config: EvaluationConfig) -> Interval | None:
    return share_by_prompt([(prompt, float(one)) for prompt, one in relevant.items()], config)


def _mean(values: Collection[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _counts(asked: RelevanceCounts) -> dict[str, int]:
    """requests: among which most answers were placed; answers: how many, and what became of
    them."""
    found = Counter(asked.verdicts)
    return {
        "requests": max((len(answer.logps) for answer in asked.answers), default=0),
        "answers": len(asked.answers),
        **{name.replace(" ", "_"): found[name] for name in get_args(Verdict)},
    }


def _asked(inputs: Inputs, who: str) -> RelevanceCounts | None:
    """None for a policy whose answers the base was not asked about."""
    placed = inputs.find(f"{who}_relevance")
    return read_relevance(placed, inputs.path(f"{who}_answers")) if placed is not None else None


def read_relevance(placed: Path, answers: Path) -> RelevanceCounts:
    """What the step `answer_relevance` wrote, of a file of answers."""
    logps = {row["completion_id"]: row["logps"] for row in read_rows(placed)}
    found = list(read_placements(answers, logps).values())
    return RelevanceCounts(found, verdicts(found))


def read_placements(answers: Path, logps: Mapping[str, Sequence[float]]) -> dict[str, AnswerPlacement]:
    """completion_id → that answer of the file with its `logps`, of those that have some or none
    because they are empty; in the order of the file."""
    rows = (row for row in iterate_rows(answers, _COLUMNS) if row["completion_id"] in logps)
    return {row["completion_id"]: _placed(row, logps[row["completion_id"]]) for row in rows}


def _placed(row: Mapping[str, Any], logps: Sequence[float]) -> AnswerPlacement:
    return AnswerPlacement(
        prompt_id=row["prompt_id"],
        prompt=row["prompt_token_ids"],
        tokens=row["token_ids"],
        finished=row["finish_reason"] == "stop",
        empty=not logps,
        logps=logps,
    )
