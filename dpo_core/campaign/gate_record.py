"""What is recorded of a gate's decision: in the ledger, and among the metrics of its round."""

from dataclasses import dataclass

from pydantic import ConfigDict

from dpo_core.campaign.metric_fields import Flag, Number
from dpo_core.campaign.round_parts import Part
from dpo_core.campaign.step_facts import CertificateFacts, StepFacts


@dataclass(frozen=True)
class GateCheck:
    """One condition of promotion. `value` is None if it was not measured; the check then fails."""

    name: str
    value: Number
    bound: Number
    passed: bool


@dataclass(frozen=True)
class RejectedAttempt:
    """An attempt at the round that the gate rejected: under which changes, and why."""

    attempt: int
    changes: tuple[str, ...]
    decision: str


@dataclass(frozen=True)
class PersonsDecision:
    """A person's answer for a policy that did not pass the gate. at: ISO 8601, UTC."""

    promote: bool
    reason: str
    by: str
    at: str


class CertificateRecord(CertificateFacts):
    """The certificate with what its step took."""

    model_config = ConfigDict(extra="allow")


class GateRecord(Part):
    """A decision, and how it came about; see dpo_core.gate.decision.Decision.

    changes: of the config, for this attempt. tried: earlier attempts.
    """

    action: str | None = None
    reasons: tuple[str, ...] = ()
    checks: tuple[GateCheck, ...] = ()
    attempt: int = 1
    goes_on_from: int | None = None
    changes: tuple[str, ...] = ()
    tried: tuple[RejectedAttempt, ...] = ()
    answer: PersonsDecision | None = None
    certificate: CertificateRecord | None = None


class GateFacts(StepFacts):
    """The facts of a step `gate`.

    question: what a person was or would have been asked. against_base_low: lower end of the win
    rate against the base by which a rollback chooses; against_base_low_plain: that of the plain
    win rate, where the other one is controlled for length and perhaps extrapolated.
    """

    promoted: Flag = None
    reason: str = ""
    gate: GateRecord | None = None
    against_base_low: float | None = None
    against_base_low_plain: float | None = None
    against_base_extrapolated: Flag = None
    question: str | None = None
    answer: PersonsDecision | None = None
