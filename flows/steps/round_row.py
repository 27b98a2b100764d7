"""The row of metrics.parquet that a round comes to."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dpo_core.campaign.store import Artifact
from flows.policy import Policy

_FROM_TRAINING = (
    "loss",
    "first_loss",
    "accuracy",
    "margin",
    "chosen_logratio",
    "rejected_logratio",
    "implicit_reward_chosen",
    "implicit_reward_rejected",
    "gradient_weight",
    "steps",
)
_JUDGING = ("scores", "pairs", "judgements", "preferences")
_EVALUATING = ("answers", "answer_scores", "evaluation")
_NOT_A_LOSS = {"prompts"}  # prompts left in the pool wait for later rounds


def round_row(
    number: int,
    previous: Policy,
    candidate: Policy,
    promoted: bool,
    evaluation: Mapping[str, Any],
    steps: Mapping[str, Artifact | None],
) -> dict[str, Any]:
    """All columns of the round; `dropped` is a mapping here, JSON in the parquet."""
    made = {name: artifact for name, artifact in steps.items() if artifact is not None}
    training = made["training"].entry.facts
    completions = made["completions"].entry
    return {
        "round": number,
        "policy": candidate.id,
        "previous_policy": previous.id,
        "promoted": promoted,
        "prompts": made["prompts"].entry.kept,
        "completions": completions.kept,
        "pairs": made["training"].entry.kept,
        "dropped": _dropped(made),
        **{name: training[name] for name in _FROM_TRAINING},
        **evaluation,
        **_seconds(made),
        "tokens_per_second": completions.facts["tokens"]
        / max(completions.facts["seconds_engine"], 1e-9),
    }


def _dropped(made: Mapping[str, Artifact]) -> dict[str, int]:
    dropped: Counter[str] = Counter()
    for name, artifact in made.items():
        if name not in _NOT_A_LOSS | set(_EVALUATING):
            dropped.update(artifact.entry.dropped)
    return dict(sorted(dropped.items()))


def _seconds(made: Mapping[str, Artifact]) -> dict[str, float]:
    """Wall seconds by kind of work; starting processes is counted apart from what they then do."""

    def spent(*names: str) -> float:
        entries = [made[name].entry for name in names if name in made]
        return sum((e.seconds - float(e.facts.get("seconds_start", 0.0)) for e in entries), 0.0)

    return {
        "seconds_sample": spent("completions"),
        "seconds_judge": spent(*_JUDGING),
        "seconds_train": spent("training"),
        "seconds_evaluate": spent(*_EVALUATING),
        "seconds_start": sum(a.entry.facts.get("seconds_start", 0.0) for a in made.values()),
        "seconds_round": sum(a.entry.seconds for a in made.values()),
    }
