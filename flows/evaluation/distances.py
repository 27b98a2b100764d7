"""KL from the round's policy to others, estimated on its own answers to test prompts."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from dpo_core.campaign.inputs import Inputs
from dpo_core.config import EvaluationConfig
from dpo_core.evaluation.comparison import summarise_kl
from dpo_core.evaluation.intervals import columns, finite
from dpo_core.evaluation.ratios import ratio
from dpo_core.tables import iterate_rows, read_rows
from flows.evaluation.held_out import HeldOutAnswers, Opponents


def measure_distances(
    inputs: Inputs, ours: HeldOutAnswers, others: Opponents, config: EvaluationConfig
) -> dict[str, float | None]:
    """kl_<other>_nats, per answer and per token, for each other policy; empty without log-probs."""
    logps = inputs.find("logps")
    if logps is None:
        return {}
    own, theirs = _read_own_logps(inputs.path("candidate_answers")), _read_logps(logps)
    test = ours.test()
    groups = [c.prompt.prompt_id for c in test]
    tokens = [float(c.tokens) for c in test]
    numbers: dict[str, float | None] = {}
    for name, policy in others.policies.items():
        other = theirs[policy.id]
        ratios = [own[c.completion_id] - other[c.completion_id] for c in test]
        numbers |= summarise_kl(f"kl_{name}_nats", ratios, groups, config)
        per_token = ratio(ratios, tokens, groups=groups, confidence=config.confidence)
        column = f"kl_{name}_nats_per_token"
        numbers |= columns(column, per_token.interval)
        numbers[f"{column}_se"] = finite(per_token.error)
    return numbers


def _read_own_logps(answers: Path) -> dict[str, float]:
    rows = iterate_rows(answers, ["completion_id", "token_logps"])
    return {row["completion_id"]: sum(row["token_logps"]) for row in rows}


def _read_logps(logps: Path) -> Mapping[str, Mapping[str, float]]:
    """policy → completion_id → log-prob."""
    by_policy: dict[str, dict[str, float]] = defaultdict(dict)
    for row in read_rows(logps):
        by_policy[row["policy"]][row["completion_id"]] = row["logp"]
    return by_policy
