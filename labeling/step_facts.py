"""The facts of the steps that judge, aggregate and audit, whose values are of this package."""

from typing import Any

from pydantic import Field

from dpo_core.step_facts import StepFacts
from labeling.aggregation.agreement import RoundAgreement
from labeling.aggregation.annotators import Annotator
from labeling.aggregation.calibration import JudgeReliability
from labeling.aggregation.drift import Drift
from labeling.audit.findings import AuditFinding
from labeling.judges.behaviour import Behaviour


class ScoresFacts(StepFacts):
    """relevance: source → answers that it checked, by verdict."""

    relevance: dict[str, dict[str, int]] = Field(default_factory=dict)
    seconds_start: float = 0.0


class EvaluationFacts(StepFacts):
    """judges: source → how it judged."""

    judges: dict[str, Behaviour] = Field(default_factory=dict)
    seconds_start: float = 0.0


class JudgementsFacts(EvaluationFacts):
    """verdicts: how often each was given, `abstained` among them."""

    verdicts: dict[str, int] = Field(default_factory=dict)


class PreferencesFacts(StepFacts):
    """How a round was aggregated, and what it shows of the sources, alone and over rounds.

    retracted: the sources that did not count.
    """

    method: str = ""
    targets: str = ""
    agreement: RoundAgreement | None = None
    annotators: dict[str, Annotator] = Field(default_factory=dict)
    drift: tuple[Drift, ...] = ()
    retracted: tuple[str, ...] = ()


class CalibrationFacts(StepFacts):
    """calibration: judge → its fit, without the curve. unreliable: judgements that do not vote."""

    calibration: dict[str, JudgeReliability] = Field(default_factory=dict)
    unreliable: int = 0
    unreliable_pairs: int = 0

    def as_json(self) -> dict[str, Any]:
        without = {"calibration": {"__all__": {"curve"}}}
        return self.model_dump(mode="json", exclude_unset=True, exclude=without)


class AuditFacts(StepFacts):
    """rules: their version; findings of version 1 did not say."""

    findings: dict[str, AuditFinding] = Field(default_factory=dict)
    rules: int = 1

    def as_json(self) -> dict[str, Any]:
        facts = super().as_json()
        for name, finding in self.findings.items():
            share = round(finding.share, 6)
            facts["findings"][name] |= {"share": share, "blocks": finding.blocks}
        return facts
