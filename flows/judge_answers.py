"""What the judges of a config say of pairs, and what that depends on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dpo_core.campaign.inputs import Input
from dpo_core.records import Judgement, Pair
from flows.read_back.completions import ScoresBySource
from flows.session import Session
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import AnyJudgeConfig, Judge, RewardModelJudge, machines
from labeling.judges.make import judge_answers_by, judge_functions, pairwise_judge
from labeling.judges.protocol import verdict_from_scores


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


def judges_models(
    session: Session, config: AnyJudgeConfig, gives: str | None = None
) -> dict[str, Input]:
    """The models in folders of this machine that judge: by what is in them, wherever they lie."""
    named = ((m.source, getattr(m, "model", None)) for m in _giving(config, gives))
    return {
        f"model of {source}": session.model_input(Path(model))
        for source, model in named
        if model is not None and Path(model).is_dir()
    }


def _giving(config: AnyJudgeConfig, gives: str | None) -> Iterator[Judge]:
    return (m for m in machines(config) if gives in (None, getattr(m, "gives", None)))
