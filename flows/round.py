"""One round of iterative online DPO, as the algorithm reads."""

from collections.abc import Sequence
from dataclasses import replace

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.store import ReplacedAttempt
from dpo_core.errors import WaitingForPeople
from flows.config import changes_of
from flows.draws import AnswerSources, draw_answers
from flows.evaluation.held_out import Opponents
from flows.gate.attempts import find_best, session_of_attempt, was_replaced
from flows.gate.question import pending_question
from flows.round_state import (
    EvaluatedPolicy,
    Policy,
    PreferenceSources,
    RoundContext,
    RoundPreferences,
    RoundRecord,
)
from flows.prefect.tasks import run_flow, step
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences
from flows.steps.answer_logps import answer_logps
from flows.steps.answer_relevance import answer_relevance, needs_relevance
from flows.steps.audit import audit_preferences, check_audit
from flows.steps.base import base_policy, held_out, report_power
from flows.steps.calibrate import calibrate
from flows.steps.certify import certify
from flows.steps.evaluate import evaluate
from flows.steps.gate import GateCandidate, RejectedAttempt, read_decision, gate, add_rejected
from flows.steps.gate_pool import gate_pool
from flows.steps.imported_preferences import imported_preferences
from flows.steps.labels import ask_people
from flows.steps.pairs import select_pairs
from flows.steps.rejected_answers import find_rejected_policy
from flows.steps.training_data import training_data
from flows.steps.score import judge
from flows.steps.suites import answer_held_out
from flows.steps.train import averaged_reference, choose_reference, train


def prepare(do: Session) -> tuple[Artifact, EvaluatedPolicy]:
    """Round 0: the held-out prompts, and the base policy with its answers to them."""
    held, pool = step(held_out)(do), None
    if do.config.gate.false_promotions is not None:
        pool = step(gate_pool)(do, held)
    report_power(do, held, pool)
    base = step(base_policy)(do, held)
    answered = step(answer_held_out)(do, 0, base, base, held)
    return held, add_relevance(do, answered, base, held)


def add_relevance(
    do: Session, answered: EvaluatedPolicy, base: Policy, held: Artifact
) -> EvaluatedPolicy:
    """With what the base makes of the policy's answers, where that is asked for."""
    if not needs_relevance(do, answered, held):
        return answered
    return replace(answered, relevance=step(answer_relevance)(do, answered, base, held))


def run_round(do: Session, start: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """One round: the policy that goes on, and what it took.

    What the gate refuses is tried again, under the changes that the config lists, if it lists any.
    """
    number, previous = start.number, start.previous
    best = find_best(start.base, start.earlier, do.store.rollbacks)
    tried, trained = tuple[RejectedAttempt, ...](), tuple[Artifact, ...]()
    while True:
        replaced = ReplacedAttempt(do.store) if was_replaced(do, number, len(tried) + 1) else None
        try:
            view = do if replaced is None else replace(do, steps=replaced)
            candidate, reference = run_attempt(view, start, tried)
            made = step(gate)(view, number, previous, candidate, best.best)
        except BaseException:  # whatever stops it is looked at where it stopped
            make_current(do, replaced)
            raise
        decision = read_decision(made)
        if decision.action != "retry":
            make_current(do, replaced)
            break
        tried = add_rejected(candidate, decision)
        trained = (*trained, candidate.answered.policy.made_by)
    policies = {best.best.round: best.answered, previous.policy.round: previous}
    goes_on = {**policies, number: candidate.answered}[decision.goes_on_from]
    return goes_on, RoundRecord(candidate.steps, reference, candidate.answered, made, trained)


def make_current(do: Session, replaced: ReplacedAttempt | None) -> None:
    """Let an attempt that a later one had replaced count again."""
    if replaced is not None:
        do.store.make_current(replaced.artifacts)


def run_attempt(
    do: Session, start: RoundContext, tried: tuple[RejectedAttempt, ...]
) -> tuple[GateCandidate, Policy | None]:
    """The round once: what it brings to the gate, and the reference of its training.

    Trained under the config of this attempt; compared under the campaign's own, as all are.
    """
    number, held, earlier = start.number, start.held, start.earlier
    policy, base = start.previous.policy, start.base.policy
    changed = session_of_attempt(do, number, len(tried) + 1)
    if number == 1 and do.config.data.imported is not None:
        made = take_imported(changed, number, policy, held)
    else:
        answering = AnswerSources(policy, base, find_rejected_policy(changed, base, earlier))
        made = sample_and_judge(changed, number, answering, held, earlier)
    data = training_data(changed, number, made.preferences, made.completions, earlier)
    audited = step(audit_preferences)(changed, number, base, held, made, data, earlier)
    check_audit(audited)
    reference = choose_reference(changed, number, policy, base, earlier)
    trained = step(train)(changed, number, policy, reference, data.preferences, data.completions)
    answered = step(answer_held_out)(do, number, trained, base, held)
    answered, previous, first = (
        add_relevance(do, one, base, held) for one in (answered, start.previous, start.base)
    )
    others = Opponents(previous, first, reference)
    logps = step(answer_logps)(do, number, answered, others, held)
    evaluation = step(evaluate)(do, number, answered, others, logps, held, made, earlier)
    certified = None
    if do.config.gate.false_promotions is not None:
        turn = (number, len(tried) + 1)
        certified = step(certify)(do, *turn, answered, start.previous, evaluation, held)
    steps = {
        **made.steps(),
        "data": data.made,
        "audit": audited,
        "reference": averaged_reference(reference),
        "training": trained.made_by,
        **answered.steps(),
        "answer_logps": logps,
        "evaluation": evaluation,
        **(certified.steps if certified is not None else {}),
    }
    changes = changes_of(do.config, len(tried) + 1)
    return GateCandidate(answered, evaluation, steps, changes, tried, certified), reference


def sample_and_judge(
    do: Session,
    number: int,
    answering: AnswerSources,
    held: Artifact,
    earlier: Sequence[RoundRecord],
) -> RoundPreferences:
    """The policy answers prompts, pairs of its answers are judged."""
    drawn = draw_answers(do, number, answering, held, earlier)
    prompts, completions, scores = drawn.prompts, drawn.completions, drawn.scores
    pairs = step(select_pairs)(do, number, completions, prompts, scores)
    judgements = step(judge)(do, number, pairs, completions, prompts, scores)
    trusted = step(calibrate)(do, number, pairs, judgements, scores, earlier)
    labels = step(ask_people)(do, number, pairs, judgements, completions, prompts, trusted)
    said = PreferenceSources(pairs, judgements, labels, trusted, completions)
    gone = do.store.retractions(number)
    preferences = step(aggregate_preferences)(do, number, said, earlier, gone)
    made = (prompts, scores, pairs, judgements, trusted, labels, drawn.parts)
    return RoundPreferences(completions, preferences, *made)


def take_imported(do: Session, number: int, policy: Policy, held: Artifact) -> RoundPreferences:
    """Imported preferences, with the answers that they name: nothing is sampled or judged."""
    imported = step(imported_preferences)(do, number, policy, held)
    return RoundPreferences(imported, imported)


def prepare_flow(do: Session) -> tuple[Artifact, EvaluatedPolicy]:
    """`prepare` as a Prefect flow."""
    return run_flow(lambda: prepare(do), name="base", run_name=f"{do.config.name} base")


def round_flow(do: Session, start: RoundContext) -> tuple[EvaluatedPolicy, RoundRecord]:
    """`play` as a Prefect flow, which then shows the round's numbers."""
    from prefect import tags

    from flows.prefect.runs import publish_round

    number = start.number

    def played() -> tuple[EvaluatedPolicy, RoundRecord]:
        try:
            result = run_round(do, start)
        except WaitingForPeople:
            if pending_question(do.layout) is not None:  # whoever answers looks at the round's numbers
                publish_round(do, number)
            raise
        publish_round(do, number)
        return result

    with tags(f"round:{number}"):
        return run_flow(played, name="round", run_name=f"{do.config.name} round {number}")
