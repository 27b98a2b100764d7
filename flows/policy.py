"""A policy as the round passes it on: where its weights lie and what it answered."""

from collections.abc import Mapping
from dataclasses import dataclass
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
class Played:
    """What later rounds need of a round: what its steps made, and its reference if it had one."""

    made: Mapping[str, Artifact | None]
    reference: Policy | None


@dataclass(frozen=True)
class Answered:
    """A policy and its answers to the held-out prompts, with their scores (pointwise judges)."""

    policy: Policy
    answers: Artifact
    scores: Artifact | None
