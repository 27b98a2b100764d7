"""What a certificate says: a check of the gate, and sentences for people."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from flows.gate.checks import Check


def certificate_checks(facts: Mapping[str, Any]) -> Iterator[tuple[Check, str]]:
    """The check of a round that could be tested; nothing where no unused prompts were left."""
    if not facts["certified"]:
        return
    passed = bool(facts["passed"])
    check = Check("log_e", facts["log_e"], facts["needed"], passed)
    relation = "reaches" if passed else "does not reach"
    units = facts["reached_at"] if passed else facts["units"]
    yield (
        check,
        f"evidence of {facts['log_e']:.2f} nats after {units} gate prompts {relation} the "
        f"{facts['needed']:.2f} that decision {facts['decision']} of {facts['planned']} asks for",
    )


def word(gate: Mapping[str, Any]) -> str | None:
    """What the gate's word on a round rests on, for one who reads it; None where no test was asked
    for. gate: of a round's numbers."""
    certificate = gate.get("certificate")
    answer = gate.get("answer")
    if certificate is None:
        return None
    if answer and answer.get("promote"):
        return "by a person, not certified"
    return "certified" if certificate["certified"] else "not certified"


def spent(certificates: Iterator[Mapping[str, Any]]) -> float:
    """The chance of an error that the tests of these certificates have used."""
    return math.fsum(each["alpha"] for each in certificates if each["certified"])
