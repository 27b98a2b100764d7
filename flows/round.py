"""One round of iterative online DPO, as the algorithm reads."""

from dpo_core.campaign.store import Artifact
from flows.evaluation.held_out import Others
from flows.orchestration import run_flow, step
from flows.policy import Answered, Played, Policy, Preferred
from flows.publish import publish_round
from flows.session import Session
from flows.steps.aggregate import aggregate_preferences
from flows.steps.answer import answer_held_out
from flows.steps.answer_logps import answer_logps
from flows.steps.audit import audit_preferences, check_audit
from flows.steps.base import base_policy, held_out
from flows.steps.calibrate import calibrate
from flows.steps.evaluate import evaluate
from flows.steps.gate import gate
from flows.steps.imported import imported_preferences
from flows.steps.judge import judge
from flows.steps.labels import ask_people
from flows.steps.pairs import select_pairs
from flows.steps.prompts import draw_prompts
from flows.steps.reference import averaged, choose_reference
from flows.steps.replay import training_data
from flows.steps.sample import sample
from flows.steps.score import score
from flows.steps.train import train


def prepare(do: Session) -> tuple[Artifact, Answered]:
    """Round 0: the held-out prompts, and the base policy with its answers to them."""
    held = step(held_out)(do)
    base = step(base_policy)(do, held)
    return held, step(answer_held_out)(do, 0, base, held)


def play(
    do: Session,
    number: int,
    previous: Answered,
    base: Answered,
    held: Artifact,
    earlier: list[Played],
) -> tuple[Answered, Played]:
    """Round `number` from the last promoted policy: the policy that goes on, and what it took."""
    policy: Policy = previous.policy
    if number == 1 and do.config.data.imported is not None:
        made = taken_over(do, number, policy, held)
    else:
        made = judged(do, number, policy, held, earlier)
    data = training_data(do, number, made.preferences, made.completions, earlier)
    audited = step(audit_preferences)(do, number, base.policy, held, made, data, earlier)
    check_audit(audited)
    reference = choose_reference(do, number, policy, base.policy, earlier)
    trained = step(train)(do, number, policy, reference, data.preferences, data.completions)
    candidate = step(answer_held_out)(do, number, trained, held)
    others = Others(previous, base, reference)
    logps = step(answer_logps)(do, number, candidate, others)
    evaluation = step(evaluate)(do, number, candidate, others, logps, held, made, earlier)
    steps = {
        **made.steps(),
        "data": data.made,
        "audit": audited,
        "reference": averaged(reference),
        "training": trained.made_by,
        **candidate.steps(),
        "answer_logps": logps,
        "evaluation": evaluation,
    }
    promoted = step(gate)(do, number, previous, candidate, evaluation, steps)
    return promoted, Played(steps, reference)


def judged(
    do: Session, number: int, policy: Policy, held: Artifact, earlier: list[Played]
) -> Preferred:
    """The policy answers prompts, pairs of its answers are judged."""
    prompts = step(draw_prompts)(do, number, held, earlier)
    completions = step(sample)(do, number, policy, prompts)
    scores = step(score)(do, number, completions, prompts, do.config.judge)
    pairs = step(select_pairs)(do, number, completions, prompts, scores)
    judgements = step(judge)(do, number, pairs, completions, prompts, scores)
    trusted = step(calibrate)(do, number, pairs, judgements, scores, earlier)
    labels = step(ask_people)(do, number, pairs, judgements, completions, prompts, trusted)
    preferences = step(aggregate_preferences)(
        do, number, pairs, judgements, labels, trusted, earlier, do.store.retractions(number)
    )
    made = (prompts, scores, pairs, judgements, trusted, labels)
    return Preferred(completions, preferences, *made)


def taken_over(do: Session, number: int, policy: Policy, held: Artifact) -> Preferred:
    """Imported preferences, with the answers that they name: nothing is sampled or judged."""
    imported = step(imported_preferences)(do, number, policy, held)
    return Preferred(imported, imported)


def prepare_flow(do: Session) -> tuple[Artifact, Answered]:
    """`prepare` as a Prefect flow."""
    return run_flow(lambda: prepare(do), name="base", run_name="base")


def round_flow(
    do: Session,
    number: int,
    previous: Answered,
    base: Answered,
    held: Artifact,
    earlier: list[Played],
) -> tuple[Answered, Played]:
    """`play` as a Prefect flow, which then shows the round's numbers."""

    def played() -> tuple[Answered, Played]:
        result = play(do, number, previous, base, held, earlier)
        publish_round(do, number)
        return result

    return run_flow(played, name="round", run_name=f"round {number}")
