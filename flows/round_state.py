"""A policy as the round passes it on: where its weights lie and what it answered."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dpo_core.campaign.artifacts import Artifact
from dpo_core.campaign.inputs import Input


@dataclass(frozen=True)
class Policy:
    """A policy made in `round` (0: the base), known by the hash of all of its files."""

    round: int
    id: str
    folder: Path
    made_by: Artifact

    @property
    def input(self) -> Input:
        """For a step that depends on it."""
        return Input(self.id, self.folder)


Other = Policy | str
"""Whose answers are rejected where they are not the policy's own: an earlier policy, or a model by
its folder or its id on the hub."""

OWN_SAMPLES = "own_samples"
"""A fact of completions of which some are another's: those whose sample index is below it are the
policy's."""

REJECTED_FROM = "rejected_from"
"""A fact of the same: who gave the others."""


@dataclass(frozen=True)
class DrawnAnswers:
    """Prompts of a round with the answers to them, and their scores if any judge scores.

    parts: the steps, by their names, that were joined into these, if there were any.
    """

    prompts: Artifact
    completions: Artifact
    scores: Artifact | None = None
    parts: Mapping[str, Artifact] = field(default_factory=dict)

    def artifacts(self) -> Iterator[Artifact]:
        return (made for made in (self.prompts, self.completions, self.scores) if made is not None)


@dataclass(frozen=True)
class PreferenceSources:
    """What was said of a round's pairs: by judges, by people, and how far judges are trusted; and
    the answers that the pairs are of."""

    pairs: Artifact
    judgements: Artifact
    labels: Artifact | None = None
    calibration: Artifact | None = None
    completions: Artifact | None = None

    @property
    def own_samples(self) -> int | None:
        """See OWN_SAMPLES; None where all answers are the policy's."""
        return self.completions.entry.facts.get(OWN_SAMPLES) if self.completions else None


@dataclass(frozen=True)
class RoundPreferences:
    """A round's preferences and the completions they name, with the steps between, if any.

    parts: as those of Drawn.
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

    def steps(self) -> dict[str, Artifact | None]:
        own = (each.name for each in fields(self) if each.name != "parts")
        return {**{name: getattr(self, name) for name in own}, **self.parts}


@dataclass(frozen=True)
class SuiteAnswers:
    """Answers to a regression suite, in one step with its prompts, and the scores of its rule."""

    answers: Artifact
    scores: Artifact


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy and its answers to the held-out prompts, with their scores (pointwise judges).

    training_scores: those of the training judge, where that is another one and scores. suites:
    answers to the prompts of each regression suite, by its name. relevance: what the base makes of
    the answers, where it is asked.
    """

    policy: Policy
    answers: Artifact
    scores: Artifact | None
    training_scores: Artifact | None = None
    suites: Mapping[str, SuiteAnswers] = field(default_factory=dict)
    relevance: Artifact | None = None

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
            "answer_relevance": self.relevance,
        }


@dataclass(frozen=True)
class RoundRecord:
    """What later rounds need of a round: what its steps made, its reference if it had one, the
    policy it trained, what the gate made of it, and the trainings of refused attempts."""

    made: Mapping[str, Artifact | None]
    reference: Policy | None
    candidate: EvaluatedPolicy | None = None
    gate: Artifact | None = None
    refused: tuple[Artifact, ...] = ()

    @property
    def row(self) -> Mapping[str, Any]:
        """The round's numbers, with the names of dpo_core.evaluation.round_metrics."""
        assert self.gate is not None, "a round that was played came to its gate"
        path = self.gate.path("metrics.json")
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


@dataclass(frozen=True)
class RoundContext:
    """What round `number` starts from: the policy that goes on and the base, each with its answers
    to the held-out prompts `held`, and the rounds before."""

    number: int
    previous: EvaluatedPolicy
    base: EvaluatedPolicy
    held: Artifact
    earlier: Sequence[RoundRecord] = ()
