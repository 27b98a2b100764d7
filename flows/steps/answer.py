"""Step `answers`: a policy answers the held-out prompts, with the same seeds in every round."""

from dpo_core.campaign.store import Artifact
from flows.policy import Answered, Policy
from flows.session import Session
from flows.steps.sample import answer_file
from flows.steps.score import score


def answer_held_out(session: Session, number: int, policy: Policy, held_out: Artifact) -> Answered:
    """The policy's held-out answers and, with a pointwise judge, their scores."""
    count = session.config.evaluation.samples_per_prompt
    # The seed knows no round: policies differ by their weights alone.
    seed = session.seed("answers")
    answers = answer_file(session, number, "answers", policy, held_out, count, seed)
    judge = session.config.held_out_judge
    scores = score(session, number, answers, held_out, judge, "answer_scores")
    return Answered(policy, answers, scores)
