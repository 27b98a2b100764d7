"""The result of one check of the doctor."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class DoctorFinding:
    """`problem`: `ratchet run` would fail. `note`: it would run, with a caveat.

    check: name of the check; where: the config key, file or address it concerns.
    """

    check: str
    severity: Severity
    what: str
    where: str = ""
    remedy: str = ""


def ok(check: str, what: str, where: str = "") -> DoctorFinding:
    return DoctorFinding(check, "ok", what, where)


def note(check: str, what: str, where: str, remedy: str) -> DoctorFinding:
    return DoctorFinding(check, "note", what, where, remedy)


def problem(check: str, what: str, where: str, remedy: str) -> DoctorFinding:
    return DoctorFinding(check, "problem", what, where, remedy)


def problems(findings: Iterable[DoctorFinding]) -> list[DoctorFinding]:
    return [finding for finding in findings if finding.severity == "problem"]
