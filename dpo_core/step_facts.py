"""Facts of steps: what a step records in the ledger beside its counts."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class StepFacts(BaseModel):
    """Base of the facts of each step.

    Every field has a default, since entries of earlier versions lack what was added later.

    Example:
        >>> class Drawn(StepFacts):
        ...     reused: int = 0
        ...     tokens: int | None = None
        >>> Drawn(reused=2).as_json(), Drawn.read({"tokens": 5, "older": True}).tokens
        ({'reused': 2}, 5)
    """

    model_config = ConfigDict(extra="ignore", frozen=True, ser_json_inf_nan="constants")

    @classmethod
    def read(cls, recorded: Mapping[str, object]) -> Self:
        """The facts of a ledger entry; those that this class does not name are left out."""
        return cls.model_validate(recorded)

    def as_json(self) -> dict[str, Any]:
        """What is recorded: the fields that were given, in their order."""
        return self.model_dump(mode="json", exclude_unset=True)


class EngineSpeed(StepFacts):
    """What one of several engines sampled, and its seconds for it."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)
