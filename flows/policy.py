"""A policy as the round passes it on: where its weights lie and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from dpo_core.campaign.store import Artifact


@dataclass(frozen=True)
class Policy:
    """Weights made in `round` (0: the base), known by the hash of their files."""

    round: int
    id: str
    folder: Path
    made_by: Artifact


@dataclass(frozen=True)
class Preferred:
    """A round's preferences and the completions they name, with the steps between, if any."""

    completions: Artifact
    preferences: Artifact
    prompts: Artifact | None = None
    scores: Artifact | None = None
    pairs: Artifact | None = None
    judgements: Artifact | None = None
    calibration: Artifact | None = None
    labels: Artifact | None = None

    def steps(self) -> dict[str, Artifact | None]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Played:
    """What later rounds need of a round: what its steps made, and its reference if it had one."""

    made: Mapping[str, Artifact | None]
    reference: Policy | None


@dataclass(frozen=True)
class SuiteAnswers:
    """Answers to a regression suite, in one step with its prompts, and the scores of its rule."""

    answers: Artifact
    scores: Artifact


@dataclass(frozen=True)
class Answered:
    """A policy and its answers to the held-out prompts, with their scores (pointwise judges).

    training_scores: those of the training judge, where that is another one and scores. suites:
    answers to the prompts of each regression suite, by its name.
    """

    policy: Policy
    answers: Artifact
    scores: Artifact | None
    training_scores: Artifact | None = None
    suites: Mapping[str, SuiteAnswers] = field(default_factory=dict)

    def steps(self) -> dict[str, Artifact | None]:
        """What it took, by the names of the steps."""
        suites: dict[str, Artifact | None] = {}
        for name, suite in self.suites.items():
            suites |= {f"suite_{name}": suite.answers, f"suite_{name}_scores": suite.scores}
        return {
            "answers": self.answers,
            "answer_scores": self.scores,
            "answer_training_scores": self.training_scores,
            **suites,
        }
