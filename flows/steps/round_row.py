"""The row of metrics.parquet that a round comes to."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.layout import joined_in
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.training.metrics.early_warnings import EarlyWarning
from flows.round_state import OWN_SAMPLES, Policy
from labeling.pairs.draw_sizes import shortfall_message

_FROM_TRAINING = (
    "loss",
    "first_loss",
    "accuracy",
    "margin",
    "margin_spread",
    "chosen_logratio",
    "rejected_logratio",
    "implicit_reward_chosen",
    "implicit_reward_rejected",
    "gradient_weight",
    "gradient_norm",
    "learning_rate",
    "entropy",
    "length_correlation",
    "padding_share",
    "steps",
    "reference_policy",
)
_OF_THE_DEVICE = {
    "train_tokens_per_second": "tokens_per_second",
    "train_flops_per_second": "flops_per_second",
    "mfu": "mfu",
    "train_peak_memory_gib": "peak_memory_gib",
}
_JUDGING = ("scores", "pairs", "judgements", "labels", "preferences", "audit")
_EVALUATING = ("answer", "suite_", "evaluation")
"""How the steps begin that evaluate; a round may have a few of its own."""
# Prompts left in the pool wait for later rounds, pairs without a label may still be judged, and
# pairs of other rounds are not this one's.
_NOT_A_LOSS = {"prompts", "labels", "data"}


def round_row(
    previous: Policy,
    candidate: Policy,
    promoted: bool,
    evaluation: RoundMetrics,
    steps: Mapping[str, Artifact | None],
) -> RoundMetrics:
    """What is reported of the round, but for the gate's decision and the cost."""
    made, number = _made(steps), evaluation.round
    training = made["training"].entry.facts
    facts = made["completions"].entry.facts
    preferred = _facts(made, "preferences")
    before = RoundMetrics(
        round=number,
        policy=candidate.id,
        previous_policy=previous.id,
        promoted=promoted,
        prompts=made["prompts"].entry.kept if "prompts" in made else facts["prompts"],
        completions=facts["completions"],
        pairs=made["training"].entry.kept,
        pairs_replayed=_replayed(number, made.get("data")),
        pairs_delta=made["preferences"].entry.kept if OWN_SAMPLES in facts else 0,
        dropped=_dropped(made),
        **{name: training.get(name) for name in _FROM_TRAINING},
        judges=_facts(made, "judgements").get("judges", {}),
        labels=_facts(made, "labels"),
        annotators=preferred.get("annotators", {}),
        agreement=preferred.get("agreement", {}),
        calibration=_facts(made, "calibration").get("calibration", {}),
        audit=_facts(made, "audit").get("findings", {}),
    )
    warnings = {**_few_pairs(made), **_warnings(made), **(evaluation.warnings or {})}
    speed = RoundMetrics(
        round=number,
        warnings=warnings,
        tokens_per_second=_tokens_per_second(made),
        **{name: training.get(fact) for name, fact in _OF_THE_DEVICE.items()},
        **_seconds(made),
    )
    return before | evaluation | speed


def _facts(made: Mapping[str, Artifact], step: str) -> Mapping[str, Any]:
    return made[step].entry.facts if step in made else {}


def _few_pairs(made: Mapping[str, Artifact]) -> dict[str, str]:
    said = shortfall_message(_facts(made, "prompts"))
    return {"few_pairs": said} if said is not None else {}


def _warnings(made: Mapping[str, Artifact]) -> dict[str, str]:
    """What the round's training and its labels warn of, in sentences by name."""
    early = (EarlyWarning(**warning) for warning in _facts(made, "training").get("warnings", ()))
    drifts = (d for d in _facts(made, "preferences").get("drift", ()) if d["alarm"])
    told = {warning.name: str(warning) for warning in early}
    return told | {f"drift of {drift['source']}": drift["sentence"] for drift in drifts}


def _made(steps: Mapping[str, Artifact | None]) -> dict[str, Artifact]:
    """The steps that there were, each once: an imported one is completions and preferences."""
    made: dict[str, Artifact] = {}
    for name, artifact in steps.items():
        if artifact is not None and artifact not in made.values():
            made[name] = artifact
    return made


def _tokens_per_second(made: Mapping[str, Artifact]) -> float | None:
    """None where nothing was sampled."""
    facts = [a.entry.facts for name, a in made.items() if joined_in(name) == "completions"]
    sampled = [each for each in facts if "seconds_engine" in each]
    if not sampled:
        return None
    seconds = sum(each["seconds_engine"] for each in sampled)
    return float(sum(each["tokens"] for each in sampled) / max(seconds, 1e-9))


def _replayed(number: int, data: Artifact | None) -> int:
    by_round = data.entry.facts["pairs_by_round"] if data is not None else {}
    return sum(pairs for other, pairs in by_round.items() if other != str(number))


def _dropped(made: Mapping[str, Artifact]) -> dict[str, int]:
    dropped: Counter[str] = Counter()
    for name, artifact in made.items():
        # What is joined of several draws has what they dropped.
        if name not in _NOT_A_LOSS and not name.startswith(_EVALUATING) and joined_in(name) == name:
            dropped.update(artifact.entry.dropped)
    return dict(sorted(dropped.items()))


def _seconds(made: Mapping[str, Artifact]) -> dict[str, float]:
    """Wall seconds by kind of work; starting processes is counted apart from what they then do."""

    def spent(*names: str) -> float:
        entries = [a.entry for name, a in made.items() if joined_in(name) in names]
        return sum((e.seconds - float(e.facts.get("seconds_start", 0.0)) for e in entries), 0.0)

    return {
        "seconds_sample": spent("completions"),
        "seconds_judge": spent(*_JUDGING),
        "seconds_train": spent("data", "reference", "training"),
        "seconds_evaluate": spent(*(name for name in made if name.startswith(_EVALUATING))),
        "seconds_start": sum(a.entry.facts.get("seconds_start", 0.0) for a in made.values()),
        "seconds_round": sum(a.entry.seconds for a in made.values()),
    }
