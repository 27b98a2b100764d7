"""Step `judgements`: what each judge that needs no person says about every pair."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpo_core.campaign.store import Artifact, Made
from dpo_core.records import JUDGEMENTS, Completion, Judgement, Pair, judgement_row
from dpo_core.tables import iterate_rows, read_rows, write_rows
from flows.session import Session
from flows.steps.completions import ScoresBySource, read_completions, read_full_scores
from labeling.judges.behaviour import behaviour
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import AnyJudgeConfig, Judge, RewardModelJudge, machines
from labeling.judges.make import judge_answers_by, judge_functions, pairwise_judge
from labeling.judges.protocol import verdict_from_scores


def judge(
    session: Session,
    number: int,
    pairs: Artifact,
    completions: Artifact,
    prompts: Artifact,
    scores: Artifact | None,
) -> Artifact:
    """One judgement per pair and judge: from the scores of a pointwise one, or read as a pair."""
    config = session.config.judge

    def make(folder: Path) -> Made:
        verdicts: Counter[str] = Counter()
        by_id = {c.completion_id: c for c in read_completions(completions, prompts)}
        read = _pairs(pairs, by_id)
        scored = read_full_scores(scores)
        judges: dict[str, Any] = {}

        def rows() -> Iterator[dict[str, Any]]:
            for source, judgements in judged(session, config, read, scored):
                found = list(judgements)
                own = [(by_id[identity], s) for identity, s in scored.get(source, {}).items()]
                judges[source] = asdict(behaviour(list(zip(read, found, strict=True)), own))
                for pair, judgement in zip(read, found, strict=True):
                    verdicts[judgement.verdict or "abstained"] += 1
                    yield judgement_row(pair.pair_id, source, judgement)

        count = write_rows(folder / "judgements.parquet", rows(), JUDGEMENTS)
        abstained = verdicts["abstained"]
        dropped = {"abstained": abstained} if abstained else {}
        facts = {"verdicts": dict(verdicts), "judges": judges, **session.judges.started()}
        versions = dict(session.judges.versions)
        return Made(count, count - abstained, dropped, facts=facts, versions=versions)

    inputs = {"pairs": pairs.hash("pairs.parquet")}
    inputs["completions"] = completions.hash("completions.parquet")
    if scores is not None:
        inputs["scores"] = scores.hash("scores.parquet")
    return session.step(
        number,
        "judgements",
        make,
        config=judge_config(config),
        inputs=inputs,
        functions=judges_functions(config),
    )


def read_pairs(pairs: Artifact, completions: Artifact, prompts: Artifact) -> list[Pair]:
    """The pairs of a round with their completions, in the order of the file."""
    return _pairs(pairs, {c.completion_id: c for c in read_completions(completions, prompts)})


def _pairs(pairs: Artifact, by_id: Mapping[str, Completion]) -> list[Pair]:
    rows = read_rows(pairs.path("pairs.parquet"))
    return [Pair(row["pair_id"], by_id[row["a"]], by_id[row["b"]]) for row in rows]


def read_judgements(judgements: Artifact | None) -> dict[str, list[Judgement]]:
    """pair_id → what each judge that needs no person says; without reasons and replies."""
    found: dict[str, list[Judgement]] = defaultdict(list)
    if judgements is not None:
        said = ("verdict", "confidence", "forward", "backward")
        path = judgements.path("judgements.parquet")
        for row in iterate_rows(path, ["pair_id", *said]):
            found[row["pair_id"]].append(Judgement(**{name: row[name] for name in said}))
    return found


def judged(
    session: Session,
    config: AnyJudgeConfig,
    pairs: Sequence[Pair],
    scored: ScoresBySource,
) -> Iterator[tuple[str, Iterator[Judgement]]]:
    """(source, one judgement per pair) of each judge of `config` that needs no person."""
    for member in machines(config):
        yield member.source, _judged_by(session, member, pairs, scored)


def _judged_by(
    session: Session, member: Judge, pairs: Sequence[Pair], scored: ScoresBySource
) -> Iterator[Judgement]:
    pairwise = pairwise_judge(member, session.judges.models)
    if pairwise is not None:
        return judge_both_orders(pairwise, pairs)
    own = scored[member.source]
    rewards = isinstance(member, RewardModelJudge)
    return (
        verdict_from_scores(own[p.a.completion_id], own[p.b.completion_id], rewards=rewards)
        for p in pairs
    )


def judge_config(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, Any]:
    """What the answers of the judges depend on, those that give scores or verdicts, or all."""
    return {"judges": [judge_answers_by(m) for m in _giving(config, gives)]}


def judges_functions(config: AnyJudgeConfig, gives: str | None = None) -> dict[str, str]:
    """User code that the answers of the judges depend on."""
    return {k: v for m in _giving(config, gives) for k, v in judge_functions(m).items()}


def _giving(config: AnyJudgeConfig, gives: str | None) -> Iterator[Judge]:
    return (m for m in machines(config) if gives in (None, getattr(m, "gives", None)))
