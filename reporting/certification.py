"""What a campaign with a certified gate may claim, round by round and as a whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reporting.numbers import Row, list_rounds
from reporting.summary import CampaignSummary

CERTIFIED, ON_SET = "certified", "certified on the gate set"
NOT_CERTIFIED, BY_A_PERSON = "not certified", "by a person"


def certification_status(row: Row) -> str | None:
    """What the decision on a round rests on; None without `gate.false_promotions`."""
    gate = row.get("gate") or {}
    certificate, answer = gate.get("certificate"), gate.get("answer")
    if certificate is None:
        return None
    if answer and answer.get("promote"):
        return BY_A_PERSON
    if not certificate.get("certified"):
        return NOT_CERTIFIED
    return ON_SET if certificate.get("about") == "gate_set" else CERTIFIED


def certification_summary(summary: CampaignSummary) -> dict[str, Any] | None:
    """For `status --json`; None if no round's gate was a certified one."""
    claims = [
        (row, status) for row in summary.rounds if (status := certification_status(row)) is not None
    ]
    if not claims:
        return None
    certificates = [_certificate(row) for row, _ in claims]
    tests = [certificate for certificate in certificates if certificate.get("certified")]
    return {
        "false_promotions": max(certificate["false_promotions"] for certificate in certificates),
        "decisions": max((certificate["decision"] for certificate in tests), default=0),
        "planned": tests[-1]["planned"] if tests else 0,
        "prompts_used": max(
            (certificate["start"] + certificate["prompts"] for certificate in tests), default=0
        ),
        "prompts": certificates[-1]["pool"],
        "rounds": [{"round": int(row["round"]), "rests_on": status} for row, status in claims],
        "sentence": " ".join(_sentences(summary)),
    }


def certification_sentences(summary: CampaignSummary) -> tuple[str, ...]:
    """For people; empty if no round's gate was a certified one."""
    return tuple(_sentences(summary))


def _certificate(row: Row) -> Mapping[str, Any]:
    certificate: Mapping[str, Any] = row["gate"]["certificate"]
    return certificate


def _sentences(summary: CampaignSummary) -> Iterator[str]:
    by_word: dict[str | None, list[Row]] = {}
    for row in summary.rounds:
        by_word.setdefault(certification_status(row), []).append(row)
    if certification_summary := by_word.get(CERTIFIED):
        yield _claim(certification_summary)
    if on_set := by_word.get(ON_SET):
        yield (
            f"Certified on the gate set alone from round {on_set[0]['round']} on, because unused "
            "prompts ran out: the claim covers fresh answers to its "
            f"{_certificate(on_set[0])['prompts']:,} prompts, not other prompts."
        )
    if left := by_word.get(NOT_CERTIFIED):
        pool = _certificate(left[0])["pool"]
        yield (
            f"Not certified from round {left[0]['round']} on: too few of {pool:,} gate prompts are "
            "unused, so the gate reuses prompts."
        )
    if people := [row["round"] for row in by_word.get(BY_A_PERSON, ())]:
        yield f"Promoted by a person, without a certificate: {list_rounds(people)}."
    if by_word.keys() - {None} and (before := by_word.get(None)):
        yield f"Decided without a test: {list_rounds([row['round'] for row in before])}."


def _claim(rows: Sequence[Row]) -> str:
    last = _certificate(rows[-1])
    promoted = [row["round"] for row in rows if row.get("promoted")]
    level = f"{100 * max(_certificate(row)['false_promotions'] for row in rows):g}%"
    used = max(_certificate(row)["start"] + _certificate(row)["prompts"] for row in rows)
    basis = (
        f"{last['decision']} of {last['planned']} planned decisions made, {used:,} of "
        f"{last['pool']:,} gate prompts used"
    )
    if not promoted:
        return f"Certified, but no round was promoted so far ({basis})."
    which = f"any of {list_rounds(promoted)}" if len(promoted) > 1 else list_rounds(promoted)
    return (
        f"Certified: the probability that {which} was promoted without being better is at most "
        f"{level} ({basis})."
    )
