"""What the judges of a config say of pairs, and what that depends on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dpo_core.campaign.inputs import Input
from dpo_core.records import Judgement, Pair
from flows.read_back import ScoresBySource
from flows.session import Session
from labeling.judges.both_orders import judge_both_orders
from labeling.judges.config import AnyJudgeConfig, Judge, RewardModelJudge, machines
from labeling.judges.make import judges_giving, pairwise_judge
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


def judges_models(
    session: Session, config: AnyJudgeConfig, gives: str | None = None
) -> dict[str, Input]:
    """The models in folders of this machine that judge: by what is in them, wherever they lie."""
    named = ((m.source, getattr(m, "model", None)) for m in judges_giving(config, gives))
    return {
        f"model of {source}": session.model_input(Path(model))
        for source, model in named
        if model is not None and Path(model).is_dir()
    }
