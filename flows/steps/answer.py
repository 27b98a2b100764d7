"""Step `answers`: a policy answers the held-out prompts, with the same seeds in every round."""

from dpo_core.campaign.store import Artifact
from flows.evaluation.judges import training_judge_scores_too
from flows.policy import Answered, Policy
from flows.session import Session
from flows.steps.sample import Samples, answer_file
from flows.steps.score import score
from flows.steps.suites import answer_suites


def answer_held_out(
    session: Session, number: int, policy: Policy, base: Policy, held_out: Artifact
) -> Answered:
    """The policy's held-out answers and, with pointwise judges, their scores; and its answers to
    the regression suites. base: the campaign's, or `policy` itself."""
    config = session.config
    # The seed knows no round: policies differ by their weights alone.
    samples = Samples(config.evaluation.samples_per_prompt, session.seed("answers"))
    answers = answer_file(session, number, "answers", policy, held_out, samples)
    scores = score(session, number, answers, held_out, config.held_out_judge, "answer_scores")
    training_scores = None
    if training_judge_scores_too(config):
        step = "answer_training_scores"
        training_scores = score(session, number, answers, held_out, config.judge, step, base)
    suites = answer_suites(session, number, policy)
    return Answered(policy, answers, scores, training_scores, suites)
