"""The row of metrics.parquet that a round comes to."""

from collections import Counter
from collections.abc import Mapping

from dpo_core.campaign.artifacts import Artifact, Facts
from dpo_core.campaign.layout import joined_in
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.step_facts import DataFacts, ProcessFacts, PromptsFacts, SampledFacts
from dpo_core.training.results import CurveSummary, TrainingFacts
from flows.round_state import Policy
from generation.jobs import CompletionsFacts
from labeling.pairs.draw_sizes import shortfall_message
from labeling.step_facts import PreferencesFacts

_FROM_TRAINING = CurveSummary.model_fields.keys() & RoundMetrics.model_fields.keys()
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
    artifacts, number = _made(steps), evaluation.round
    trained = artifacts["training"].facts(TrainingFacts)
    answered = artifacts["completions"].facts(CompletionsFacts)
    preferences = _recorded(artifacts, "preferences")
    before = RoundMetrics(
        round=number,
        policy=candidate.id,
        previous_policy=previous.id,
        promoted=promoted,
        prompts=artifacts["prompts"].entry.kept if "prompts" in artifacts else answered.prompts,
        completions=answered.completions,
        pairs=artifacts["training"].entry.kept,
        pairs_replayed=_replayed(number, artifacts.get("data")),
        pairs_delta=artifacts["preferences"].entry.kept if answered.own_samples is not None else 0,
        dropped=_dropped(artifacts),
        reference_policy=trained.reference_policy,
        **{name: value for name, value in trained if name in _FROM_TRAINING},
        judges=_recorded(artifacts, "judgements").get("judges", {}),
        labels=_recorded(artifacts, "labels"),
        annotators=preferences.get("annotators", {}),
        agreement=preferences.get("agreement", {}),
        calibration=_recorded(artifacts, "calibration").get("calibration", {}),
        audit=_recorded(artifacts, "audit").get("findings", {}),
    )
    warnings = {
        **_few_pairs(artifacts),
        **_warnings(artifacts, trained),
        **(evaluation.warnings or {}),
    }
    speed = RoundMetrics(
        round=number,
        warnings=warnings,
        tokens_per_second=_tokens_per_second(artifacts),
        train_tokens_per_second=trained.tokens_per_second,
        train_flops_per_second=trained.flops_per_second,
        train_peak_memory_gib=trained.peak_memory_gib,
        **_seconds(artifacts),
    )
    return before | evaluation | speed


def _recorded(artifacts: Mapping[str, Artifact], step: str) -> Mapping[str, object]:
    return artifacts[step].entry.facts if step in artifacts else {}


def _facts(artifacts: Mapping[str, Artifact], step: str, kind: type[Facts]) -> Facts:
    return kind.read(_recorded(artifacts, step))


def _few_pairs(artifacts: Mapping[str, Artifact]) -> dict[str, str]:
    message = shortfall_message(_facts(artifacts, "prompts", PromptsFacts).as_json())
    return {"few_pairs": message} if message is not None else {}


def _warnings(artifacts: Mapping[str, Artifact], trained: TrainingFacts) -> dict[str, str]:
    """What the round's training and its labels warn of, in sentences by name."""
    drifts = _facts(artifacts, "preferences", PreferencesFacts).drift
    messages = {warning.name: str(warning) for warning in trained.warnings}
    return messages | {f"drift of {each.source}": each.sentence for each in drifts if each.sentence}


def _made(steps: Mapping[str, Artifact | None]) -> dict[str, Artifact]:
    """The steps that there were, each once: an imported one is completions and preferences."""
    artifacts: dict[str, Artifact] = {}
    for name, artifact in steps.items():
        if artifact is not None and artifact not in artifacts.values():
            artifacts[name] = artifact
    return artifacts


def _tokens_per_second(artifacts: Mapping[str, Artifact]) -> float | None:
    """None where nothing was sampled."""
    steps = (step for name, step in artifacts.items() if joined_in(name) == "completions")
    facts = [step.facts(SampledFacts) for step in steps]
    sampled = [(f.tokens, f.seconds_engine) for f in facts if f.seconds_engine is not None]
    if not sampled:
        return None
    tokens, seconds = map(sum, zip(*sampled, strict=True))
    return float(tokens / max(seconds, 1e-9))


def _replayed(number: int, data: Artifact | None) -> int:
    by_round = data.facts(DataFacts).pairs_by_round if data is not None else {}
    return sum(pairs for other, pairs in by_round.items() if other != str(number))


def _dropped(artifacts: Mapping[str, Artifact]) -> dict[str, int]:
    dropped: Counter[str] = Counter()
    for name, artifact in artifacts.items():
        # What is joined of several draws has what they dropped.
        if name not in _NOT_A_LOSS and not name.startswith(_EVALUATING) and joined_in(name) == name:
            dropped.update(artifact.entry.dropped)
    return dict(sorted(dropped.items()))


def _seconds(artifacts: Mapping[str, Artifact]) -> dict[str, float]:
    """Wall seconds by kind of work; starting processes is counted apart from what they then do."""

    def spent(*names: str) -> float:
        steps = [step for name, step in artifacts.items() if joined_in(name) in names]
        return sum((s.entry.seconds - s.facts(ProcessFacts).seconds_start for s in steps), 0.0)

    return {
        "seconds_sample": spent("completions"),
        "seconds_judge": spent(*_JUDGING),
        "seconds_train": spent("data", "reference", "training"),
        "seconds_evaluate": spent(*(name for name in artifacts if name.startswith(_EVALUATING))),
        "seconds_start": sum(a.facts(ProcessFacts).seconds_start for a in artifacts.values()),
        "seconds_round": sum(a.entry.seconds for a in artifacts.values()),
    }
