"""Facts of steps: what a step records in the ledger beside its counts."""

from collections.abc import Mapping
from typing import Any, Literal, Self

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

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def read(cls, recorded: Mapping[str, Any]) -> Self:
        """The facts of a ledger entry; those that this class does not name are left out."""
        return cls.model_validate(recorded)

    def as_json(self) -> dict[str, Any]:
        """What is recorded: the fields that were given, in their order."""
        return self.model_dump(mode="json", exclude_unset=True)


class CertificateFacts(StepFacts):
    """One decision of a certified gate; nothing was measured where `certified` is false.

    log_e: the evidence, which promotes where it reaches `needed`. about: what the claim is about.
    start, prompts: the pool's prompts that the test used. decision, planned: of the campaign.
    """

    certified: bool = False
    passed: bool = False
    log_e: float | None = None
    needed: float | None = None
    alpha: float | None = None
    win_rate: float | None = None
    about: Literal["pool", "gate_set"] = "pool"
    start: int = 0
    prompts: int = 0
    units: int | None = None
    reached_at: int | None = None
    decision: int | None = None
    planned: int | None = None
    false_promotions: float | None = None
    pool: int = 0
    attempt: int = 1
    turn: str = ""
    declared: str = ""
