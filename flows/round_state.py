"""What the steps of a round pass on: policies, answers, preferences and the record of a round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.facts import read_metrics
from dpo_core.campaign.inputs import Input
from dpo_core.campaign.round_metrics import RoundMetrics
from generation.jobs import CompletionsFacts


@dataclass(frozen=True)
class Policy:
    """The policy of `round` (0: the base). `id` is the hash of all of its files."""

    round: int
    id: str
    folder: Path
    made_by: Artifact

    @property
    def input(self) -> Input:
        """For a step that depends on it."""
        return Input(self.id, self.folder)


Other = Policy | str
"""Whose answers are rejected by construction: an earlier policy, or a model by folder or hub id."""

OWN_SAMPLES = "own_samples"
"""See CompletionsFacts, whose field it names in the recipes of steps."""


def parquet_inputs(**artifacts: Artifact | None) -> dict[str, Input]:
    """`NAME.parquet` of each artifact as the input NAME; an artifact that is None is left out."""
    return {
        name: artifact.input(f"{name}.parquet")
        for name, artifact in artifacts.items()
        if artifact is not None
    }


@dataclass(frozen=True)
class DrawnAnswers:
    """Prompts of a round, the answers to them, and their scores if a judge scores.

    parts: step name → step, of the steps that were joined into these.
    """

    prompts: Artifact
    completions: Artifact
    scores: Artifact | None = None
    parts: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def own_samples(self) -> int | None:
        """See OWN_SAMPLES; None where all answers are the policy's."""
        return self.completions.facts(CompletionsFacts).own_samples

    def artifacts(self) -> Iterator[Artifact]:
        return (a for a in (self.prompts, self.completions, self.scores) if a is not None)

    def inputs(self) -> dict[str, Input]:
        return parquet_inputs(
            completions=self.completions, prompts=self.prompts, scores=self.scores
        )


@dataclass(frozen=True)
class PreferenceSources:
    """What a round's preferences are aggregated from: the pairs, the verdicts of judges and people,
    the judges' calibration, and the answers."""

    pairs: Artifact
    judgements: Artifact
    labels: Artifact | None = None
    calibration: Artifact | None = None
    completions: Artifact | None = None

    @property
    def own_samples(self) -> int | None:
        """See OWN_SAMPLES; None where all answers are the policy's."""
        return self.completions.facts(CompletionsFacts).own_samples if self.completions else None


@dataclass(frozen=True)
class TrainingData:
    """Preferences and their completions, `joined` by step `data` if several rounds gave them."""

    preferences: Artifact
    completions: Artifact
    joined: Artifact | None = None


@dataclass(frozen=True)
class RoundPreferences:
    """A round's preferences and the steps behind them; imported ones have no steps but one.

    parts: as in DrawnAnswers.
    """

    completions: Artifact
    preferences: Artifact
    prompts: Artifact | None = None
    scores: Artifact | None = None
    pairs: Artifact | None = None
    judgements: Artifact | None = None
    calibration: Artifact | None = None
    labels: Artifact | None = None
    parts: Mapping[str, Artifact] = field(default_factory=dict)

    @property
    def training_data(self) -> TrainingData:
        return TrainingData(self.preferences, self.completions)

    @property
    def training_prompts(self) -> Artifact:
        """The step with the round's training prompts; an import holds its own."""
        return self.prompts or self.completions

    def steps(self) -> dict[str, Artifact | None]:
        own = (each.name for each in fields(self) if each.name != "parts")
        return {**{name: getattr(self, name) for name in own}, **self.parts}


@dataclass(frozen=True)
class SuiteAnswers:
    """Answers to a regression suite, in one step with its prompts, and their scores."""

    answers: Artifact
    scores: Artifact


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy with its held-out answers.

    scores, training_scores: of pointwise evaluation judges, and of the training judge where that is
    another one. suites: suite name → answers. relevance: the base's log-probs of the answers.
    """

    policy: Policy
    answers: Artifact
    scores: Artifact | None
    training_scores: Artifact | None = None
    suites: Mapping[str, SuiteAnswers] = field(default_factory=dict)
    relevance: Artifact | None = None

    def steps(self) -> dict[str, Artifact | None]:
        suites: dict[str, Artifact | None] = {}
        for name, suite in self.suites.items():
            suites |= {f"suite_{name}": suite.answers, f"suite_{name}_scores": suite.scores}
        return {
            "answers": self.answers,
            "answer_scores": self.scores,
            "answer_training_scores": self.training_scores,
            **suites,
            "answer_relevance": self.relevance,
        }


@dataclass(frozen=True)
class RoundRecord:
    """What later rounds need of a finished round.

    steps: step name → step. reference: of its training. rejected: trainings of rejected attempts.
    """

    steps: Mapping[str, Artifact | None]
    reference: Policy | None
    candidate: EvaluatedPolicy | None = None
    gate: Artifact | None = None
    rejected: tuple[Artifact, ...] = ()

    @property
    def row(self) -> RoundMetrics:
        """The round's metrics."""
        assert self.gate is not None, "a finished round has a gate"
        return read_metrics(self.gate)


@dataclass(frozen=True)
class RoundContext:
    """What round `number` starts from: the incumbent `previous`, the base, the held-out prompts,
    and the rounds before it."""

    number: int
    previous: EvaluatedPolicy
    base: EvaluatedPolicy
    held_out: Artifact
    earlier: Sequence[RoundRecord] = ()
