"""The judge that evaluates and the one that is trained by: how far they are the same."""

from flows.config.campaign import CampaignConfig
from labeling.judges.config import AnyJudgeConfig, Judge, gives_scores, machines
from labeling.judges.make import judge_answers_by


def training_judge_scores_too(config: CampaignConfig) -> bool:
    """Whether the training judge scores held-out answers besides the evaluation judge."""
    wanted = config.evaluation.training_judge and gives_scores(config.judge)
    return wanted and not judges_alike(config)


def training_judge_compares_too(config: CampaignConfig) -> bool:
    """Whether the training judge reads pairs of held-out answers besides the evaluation judge: it
    gives no scores by which they could be compared."""
    wanted = config.evaluation.training_judge and not gives_scores(config.judge)
    return wanted and bool(_asked_by(config.judge)) and not judges_alike(config)


def judges_alike(config: CampaignConfig) -> bool:
    """Whether evaluation and training ask the same judges, people apart."""
    return _asked_by(config.judge) == _asked_by(config.held_out_judge)


def same_judge(config: CampaignConfig) -> str | None:
    """A sentence that says so where a judge evaluates what it was trained by, else None."""
    trained_by = _asked_by(config.judge)
    shared = [
        member.source
        for member in machines(config.held_out_judge)
        if _answers(member) in trained_by
    ]
    if not shared:
        return None
    return (
        f"{', '.join(shared)} judges the evaluation and the training alike: a win rate then says "
        "that the policy learnt what this judge rewards, not that its answers are better. Name "
        "another under evaluation_judge to tell the two apart."
    )


def _asked_by(config: AnyJudgeConfig) -> list[dict[str, object]]:
    return [_answers(member) for member in machines(config)]


def _answers(member: Judge) -> dict[str, object]:
    """What its answers depend on, whatever it is called."""
    return {key: value for key, value in judge_answers_by(member).items() if key != "id"}
