"""What the audit looks at: a round's preferences, and how they came about."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from dpo_core.records import Prompt
from labeling.audit.findings import excerpt

BY_CHOICE = frozenset({"unlabelled", "judge_unreliable"})
"""Reasons for which a pair has no preference although no verdict was lost: it was left to people,
who were not asked about every pair."""


@dataclass(frozen=True)
class AuditedAnswer:
    """One side of a preference. `tokens` counts its tokens, EOS included; `faults` are those of
    labeling.audit.token_faults."""

    text: str
    tokens: int
    finished: bool
    faults: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Preference:
    """A preference as it would be trained on; `side` of the pair that was chosen, if known."""

    pair_id: str
    prompt: Prompt
    chosen: AuditedAnswer
    rejected: AuditedAnswer
    p_chosen: float = 1.0
    side: str | None = None

    @property
    def answers(self) -> tuple[AuditedAnswer, AuditedAnswer]:
        return self.chosen, self.rejected

    def shown(self) -> str:
        texts = f"chosen {excerpt(self.chosen.text)}, rejected {excerpt(self.rejected.text)}"
        return f"pair {self.pair_id}: {texts}"


@dataclass(frozen=True)
class StepLosses:
    """What a step took in, and what of it went no further: reason → count."""

    came_in: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)

    def count(self, *reasons: str) -> int:
        return sum(self.reasons.get(reason, 0) for reason in reasons)

    @property
    def by_choice(self) -> int:
        return self.count(*BY_CHOICE)


@dataclass(frozen=True)
class SourceVotes:
    """What the sources said: source → how often it named each side; pairs that all of them left
    undecided."""

    sides: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    undecided: Set[str] = frozenset()


@dataclass(frozen=True)
class Material:
    """A round before training; `truncated` is the config's word on cut answers."""

    preferences: Sequence[Preference]
    held_out: Sequence[Prompt] = ()
    judged: SourceVotes = SourceVotes()
    selection: StepLosses = StepLosses()
    aggregation: StepLosses = StepLosses()
    truncated: str = "drop"
