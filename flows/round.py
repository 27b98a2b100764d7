"""One round of iterative online DPO, as the algorithm reads."""

from collections.abc import Sequence
from dataclasses import replace

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.gate_record import RejectedAttempt
from flows.config import describe_attempt
from flows.draws import AnswerSources, draw_answers
from flows.evaluation.held_out import Opponents
from flows.gate.attempts import find_best_policy, make_current, session_of_attempt, view_of_attempt
from flows.prefect.tasks import step
from flows.round_state import (
    EvaluatedPolicy,
    Policy,
    PreferenceSources,
    RoundContext,
    RoundPreferences,
    RoundRecord,
)
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences
from flows.steps.answer_logps import answer_logps
from flows.steps.answer_relevance import answer_relevance, needs_relevance
from flows.steps.audit import audit_preferences, check_audit
from flows.steps.base import base_policy, held_out, report_power
from flows.steps.calibrate import calibrate
from flows.steps.certify import certify
from flows.steps.evaluate import RoundEvaluation, evaluate
from flows.steps.gate import GateCandidate, gate, read_decision
from flows.steps.gate_pool import gate_pool
from flows.steps.imported_preferences import imported_preferences
from flows.steps.labels import ask_people
from flows.steps.pairs import select_pairs
from flows.steps.rejected_answers import find_rejected_policy
from flows.steps.score import judge
from flows.steps.suites import answer_held_out
from flows.steps.train import averaged_reference, choose_reference, train
from flows.steps.training_data import training_data


def prepare(session: Session) -> tuple[Artifact, EvaluatedPolicy]:
    """Round 0: the held-out prompts, and the base policy with its answers to them."""
    prompts, pool = step(held_out)(session), None
    if session.config.gate.false_promotions is not None:
        pool = step(gate_pool)(session, prompts)
    report_power(session, prompts, pool)
    policy = step(base_policy)(session, prompts)
    base = step(answer_held_out)(session, 0, policy, policy, prompts)
    return prompts, add_relevance(session, base, policy, prompts)


def run_round(session: Session, context: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """Run one round; returns the policy that the next round starts from, and the record.

    A rejected candidate is tried again under the changes that `gate.retry` lists.
    """
    number, previous = context.number, context.previous
    best = find_best_policy(context.base, context.earlier, session.store.rollbacks)
    rejected, trainings = tuple[RejectedAttempt, ...](), tuple[Artifact, ...]()
    while True:
        view, decision = view_of_attempt(session, number, len(rejected) + 1), None
        try:
            candidate, reference = run_attempt(view, context, rejected)
            outcome = step(gate)(view, number, previous, candidate, best.best)
            decision = read_decision(outcome)
        finally:  # an attempt that ends the round, or fails, is the one to look at
            if decision is None or decision.action != "retry":
                make_current(view)
        if decision.action != "retry":
            break
        rejected = (*rejected, candidate.rejected_by(decision))
        trainings = (*trainings, candidate.evaluated.policy.made_by)
    policies = {best.best.round: best.evaluated, previous.policy.round: previous}
    incumbent = {**policies, number: candidate.evaluated}[decision.goes_on_from]
    steps, evaluated = candidate.steps, candidate.evaluated
    return incumbent, RoundRecord(steps, reference, evaluated, outcome, trainings)


def run_attempt(
    session: Session, context: RoundContext, rejected: tuple[RejectedAttempt, ...]
) -> tuple[GateCandidate, Policy | None]:
    """Make preferences, train on them and evaluate; returns the candidate and its reference.

    It is trained under the config of this attempt, and evaluated under the campaign's own.
    """
    number, attempt, earlier = context.number, len(rejected) + 1, context.earlier
    policy, base, prompts = context.previous.policy, context.base.policy, context.held_out
    changed = session_of_attempt(session, number, attempt)

    own = make_preferences(changed, context)
    data = training_data(changed, number, own.training_data, earlier)
    audited = step(audit_preferences)(changed, number, base, prompts, own, data, earlier)
    check_audit(audited)
    reference = choose_reference(changed, number, policy, base, earlier)
    trained = step(train)(changed, number, policy, reference, data)

    answered = step(answer_held_out)(session, number, trained, base, prompts)
    candidate, previous, first = (
        add_relevance(session, policy, base, prompts)
        for policy in (answered, context.previous, context.base)
    )
    opponents = Opponents(previous, first, reference)
    logps = step(answer_logps)(session, number, candidate, opponents, prompts)
    compared = RoundEvaluation(number, candidate, opponents, logps, prompts, own, earlier)
    evaluation = step(evaluate)(session, compared)
    certificate = None
    if session.config.gate.false_promotions is not None:
        tested = (candidate, context.previous, evaluation, prompts)
        certificate = step(certify)(session, number, attempt, *tested)
    steps = {
        **own.steps(),
        "data": data.joined,
        "audit": audited,
        "reference": averaged_reference(reference),
        "training": trained.made_by,
        **candidate.steps(),
        "answer_logps": logps,
        "evaluation": evaluation,
        **(certificate.steps if certificate is not None else {}),
    }
    changes = describe_attempt(session.config, attempt)
    return GateCandidate(candidate, evaluation, steps, changes, rejected, certificate), reference


def make_preferences(session: Session, context: RoundContext) -> RoundPreferences:
    """The round's preferences: judged answers of the policy, or what was imported for round 1."""
    number, earlier = context.number, context.earlier
    policy, base = context.previous.policy, context.base.policy
    if number == 1 and session.config.data.imported is not None:
        imported = step(imported_preferences)(session, number, policy, context.held_out)
        return RoundPreferences(imported, imported)
    sources = AnswerSources(policy, base, find_rejected_policy(session, base, earlier))
    return sample_and_judge(session, number, sources, context.held_out, earlier)


def sample_and_judge(
    session: Session,
    number: int,
    sources: AnswerSources,
    held_out: Artifact,
    earlier: Sequence[RoundRecord],
) -> RoundPreferences:
    """Answer prompts, select pairs of answers, let judges and people compare them, aggregate."""
    drawn = draw_answers(session, number, sources, held_out, earlier)
    prompts, completions, scores = drawn.prompts, drawn.completions, drawn.scores
    pairs = step(select_pairs)(session, number, drawn)
    judgements = step(judge)(session, number, pairs, drawn)
    trusted = step(calibrate)(session, number, pairs, judgements, scores, earlier)
    labels = step(ask_people)(session, number, pairs, judgements, completions, prompts, trusted)
    verdicts = PreferenceSources(pairs, judgements, labels, trusted, completions)
    retracted = session.store.retractions(number)
    preferences = step(aggregate_preferences)(session, number, verdicts, earlier, retracted)
    behind = (prompts, scores, pairs, judgements, trusted, labels, drawn.parts)
    return RoundPreferences(completions, preferences, *behind)


def add_relevance(
    session: Session, evaluated: EvaluatedPolicy, base: Policy, held_out: Artifact
) -> EvaluatedPolicy:
    """The policy with the base's log-probs of its answers, where relevance is measured."""
    if not needs_relevance(session, evaluated, held_out):
        return evaluated
    return replace(evaluated, relevance=step(answer_relevance)(session, evaluated, base, held_out))
