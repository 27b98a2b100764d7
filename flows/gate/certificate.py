"""A certificate as a check of the gate."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.gate.checks import Check


def certificate_checks(
    facts: Mapping[str, Any], *, groups: bool = False
) -> Iterator[tuple[Check, str]]:
    """The check of a round that could be tested; nothing where no unused prompts were left.

    groups: whether prompts of one group are one outcome.
    """
    if not facts["certified"]:
        return
    passed = bool(facts["passed"])
    check = Check("log_e", facts["log_e"], facts["needed"], passed)
    relation = "reaches" if passed else "does not reach"
    units = facts["reached_at"] if passed else facts["units"]
    what = "groups of gate prompts" if groups else "gate prompts"
    if facts.get("about") == "gate_set":  # about these very prompts, each by itself
        what = "prompts of the gate set alone"
    yield (
        check,
        f"evidence of {facts['log_e']:.2f} nats after {units} {what} {relation} the "
        f"{facts['needed']:.2f} that decision {facts['decision']} of {facts['planned']} asks for",
    )
