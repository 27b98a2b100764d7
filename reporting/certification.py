"""What a campaign with a certified gate may claim, round by round and as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.step_facts import CertificateFacts
from reporting.numbers import list_rounds
from reporting.summary import CampaignSummary

CERTIFIED, ON_SET = "certified", "certified on the gate set"
NOT_CERTIFIED, BY_A_PERSON = "not certified", "by a person"


def certification_status(row: RoundMetrics) -> str | None:
    """What the decision on a round rests on; None without `gate.false_promotions`."""
    certificate, answer = row.at_gate.certificate, row.at_gate.answer
    if certificate is None:
        return None
    if answer is not None and answer.promote:
        return BY_A_PERSON
    if not certificate.certified:
        return NOT_CERTIFIED
    return ON_SET if certificate.about == "gate_set" else CERTIFIED


@dataclass(frozen=True)
class RoundCertification:
    """What the decision on a round rests on."""

    round: int
    rests_on: str


@dataclass(frozen=True)
class CertificationSummary:
    """The claim of a certified gate: the probability of a false promotion in the campaign,
    decisions made and planned, gate prompts used and available."""

    false_promotions: float
    decisions: int
    planned: int
    prompts_used: int
    prompts: int
    rounds: tuple[RoundCertification, ...]
    sentence: str


def certification_summary(summary: CampaignSummary) -> CertificationSummary | None:
    """For `status --json`; None if no round's gate was a certified one."""
    claims = [
        (row, status) for row in summary.rounds if (status := certification_status(row)) is not None
    ]
    if not claims:
        return None
    certificates = [_certificate(row) for row, _ in claims]
    tests = [certificate for certificate in certificates if certificate.certified]
    return CertificationSummary(
        false_promotions=max(certificate.false_promotions or 0.0 for certificate in certificates),
        decisions=max((test.decision or 0 for test in tests), default=0),
        planned=(tests[-1].planned or 0) if tests else 0,
        prompts_used=max((test.start + test.prompts for test in tests), default=0),
        prompts=certificates[-1].pool,
        rounds=tuple(RoundCertification(row.round, status) for row, status in claims),
        sentence=" ".join(_sentences(summary)),
    )


def certification_sentences(summary: CampaignSummary) -> tuple[str, ...]:
    """For people; empty if no round's gate was a certified one."""
    return tuple(_sentences(summary))


def _certificate(row: RoundMetrics) -> CertificateFacts:
    return row.at_gate.certificate or CertificateFacts()


def _sentences(summary: CampaignSummary) -> Iterator[str]:
    by_word: dict[str | None, list[RoundMetrics]] = {}
    for row in summary.rounds:
        by_word.setdefault(certification_status(row), []).append(row)
    if certification_summary := by_word.get(CERTIFIED):
        yield _claim(certification_summary)
    if on_set := by_word.get(ON_SET):
        yield (
            f"Certified on the gate set alone from round {on_set[0].round} on, because unused "
            "prompts ran out: the claim covers fresh answers to its "
            f"{_certificate(on_set[0]).prompts:,} prompts, not other prompts."
        )
    if left := by_word.get(NOT_CERTIFIED):
        pool = _certificate(left[0]).pool
        yield (
            f"Not certified from round {left[0].round} on: too few of {pool:,} gate prompts are "
            "unused, so the gate reuses prompts."
        )
    if people := [row.round for row in by_word.get(BY_A_PERSON, ())]:
        yield f"Promoted by a person, without a certificate: {list_rounds(people)}."
    if by_word.keys() - {None} and (before := by_word.get(None)):
        yield f"Decided without a test: {list_rounds([row.round for row in before])}."


def _claim(rows: Sequence[RoundMetrics]) -> str:
    last = _certificate(rows[-1])
    promoted = [row.round for row in rows if row.promoted]
    level = f"{100 * max(_certificate(row).false_promotions or 0.0 for row in rows):g}%"
    used = max(_certificate(row).start + _certificate(row).prompts for row in rows)
    basis = (
        f"{last.decision} of {last.planned} planned decisions made, {used:,} of "
        f"{last.pool:,} gate prompts used"
    )
    if not promoted:
        return f"Certified, but no round was promoted so far ({basis})."
    which = f"any of {list_rounds(promoted)}" if len(promoted) > 1 else list_rounds(promoted)
    return (
        f"Certified: the probability that {which} was promoted without being better is at most "
        f"{level} ({basis})."
    )
