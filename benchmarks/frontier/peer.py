"""TRL's trainer as an arm: from the campaign's base, then its own held-out evaluation."""

import json
from pathlib import Path
from typing import Any

from benchmarks.measure import child_result
from dpo_core.campaign.artifacts import StepResult
from dpo_core.campaign.inputs import Inputs
from dpo_core.children import child_environment
from dpo_core.hashing import policy_id
from dpo_core.records import prompt_row
from dpo_core.schemas import PROMPTS
from dpo_core.tables import write_rows
from dpo_core.training.results import BaseFacts
from flows.evaluation.held_out import Opponents
from flows.round import prepare
from flows.round_state import EvaluatedPolicy, Policy, RoundPreferences
from flows.session import Session
from flows.steps.answer_logps import answer_logps
from flows.steps.evaluate import RoundEvaluation, evaluate
from flows.steps.suites import answer_held_out
from generation.prompts import draw_train, read_pool

_ANSWERS_PER_PROMPT = 2  # TRL compares exactly two


def play_peer(session: Session) -> dict[str, Any]:
    """The numbers of the policy that TRL makes of the base with as many answers as the rounds."""
    held, base = prepare(session)
    policy, steps = _trained(session, base)
    candidate = answer_held_out(session, 1, policy, base.policy, held)
    others = Opponents(previous=base, base=base, reference=None)
    logps = answer_logps(session, 1, candidate, others, held)
    made = RoundPreferences(policy.made_by, policy.made_by)  # its pairs are in no file
    evaluation = evaluate(session, RoundEvaluation(1, candidate, others, logps, held, made))
    numbers = json.loads(evaluation.path("evaluation.json").read_text(encoding="utf-8"))
    pairs = policy.made_by.entry.kept
    return {"round": 1, "promoted": True, "pairs": pairs, "steps": steps, **numbers}


def _trained(session: Session, base: EvaluatedPolicy) -> tuple[Policy, int]:
    config = session.config
    answers = config.rounds * config.prompts.per_round * config.sampling.samples_per_prompt
    seed = session.seed("peer") % 2**31
    job = {
        "seed": seed,
        "pairs_per_step": config.training.pairs_per_step,
        "learning_rate": config.training.learning_rate,
        "warmup_steps": config.training.warmup_steps,
        "beta": config.training.beta,
        "max_tokens": config.sampling.max_tokens,
        "max_model_len": config.sampling.max_model_len,
    }

    def make(folder: Path, inputs: Inputs) -> StepResult:
        drawn = draw_train(read_pool(config.prompts), answers // _ANSWERS_PER_PROMPT, seed, {})
        texts = [prompt.text for prompt in drawn.prompts]
        (folder / "prompts.json").write_text(json.dumps(texts), encoding="utf-8")
        write_rows(folder / "prompts.parquet", map(prompt_row, drawn.prompts), PROMPTS)
        places = {
            "policy": str(inputs.path("policy")),
            "prompts": str(folder / "prompts.json"),
            "out": str(folder / "policy"),
        }
        threads = config.threads if isinstance(config.threads, int) else 1
        said = child_result(
            ["benchmarks.frontier.trl_side", json.dumps({**job, **places})],
            child_environment(threads),
        )
        facts = BaseFacts(policy=policy_id(folder / "policy"), steps=said["steps"])
        return StepResult(len(texts), len(texts), facts=facts)

    artifact = session.step(
        1, "peer", make, config={**job, "answers": answers}, inputs={"policy": base.policy.input}
    )
    facts = artifact.entry.facts
    return Policy(1, facts["policy"], artifact.path("policy"), artifact), facts["steps"]
