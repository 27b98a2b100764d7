"""What the gate decides of a round's policy: a pure function of the evaluation's numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dpo_core.gate.checks import CheckResult, GateCheck, checks, notices
from dpo_core.gate.config import GateConfig
from dpo_core.text import counted

Action = Literal["promote", "keep", "retry", "rollback", "ask", "stop"]


@dataclass(frozen=True)
class Best:
    """The round whose policy stands best against the base: `low` is the lower end of its win rate
    on gate prompts. 0 is the base itself, at one half."""

    round: int
    low: float


@dataclass(frozen=True)
class PersonsDecision:
    """A person's yes or no to a policy that did not pass. at: ISO 8601, UTC."""

    promote: bool
    reason: str
    by: str
    at: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a round's policy. goes_on_from: the round whose policy samples next."""

    action: Action
    reasons: tuple[str, ...]
    checks: tuple[GateCheck, ...]
    attempt: int
    goes_on_from: int

    @property
    def promoted(self) -> bool:
        return self.action == "promote"

    @property
    def sentence(self) -> str:
        """What was decided and why; of a policy that passed every check, the first is enough."""
        reasons = self.reasons
        many = len(self.checks)
        if self.promoted and many > 1 and all(check.passed for check in self.checks):
            passed = f"{counted(many - 1, 'other check')} passed"
            reasons = (reasons[0], passed, *reasons[many:])
        return f"{_said(self)}: {'; '.join(reasons)}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Decision":
        made = tuple(GateCheck(**check) for check in found["checks"])
        return cls(
            found["action"],
            tuple(found["reasons"]),
            made,
            found["attempt"],
            found["goes_on_from"],
        )


def decide(
    numbers: Mapping[str, Any],
    config: GateConfig,
    *,
    number: int,
    previous: int,
    best: Best,
    attempt: int = 1,
    more: Sequence[CheckResult] = (),
) -> Decision:
    """What becomes of the policy of round `number`, which began at that of round `previous`.

    numbers: of its evaluation, by the names of dpo_core.campaign.round_metrics. more: checks
    besides those that such numbers decide.
    """
    found = [*checks(numbers, config), *more]
    made = tuple(check for check, _ in found)
    if all(check.passed for check in made):
        reasons = (*(sentence for _, sentence in found), *notices(numbers, config).values())
        return Decision("promote", reasons, made, attempt, number)
    action = _otherwise(config, attempt)
    failed = (sentence for check, sentence in found if not check.passed)
    reasons = (*failed, *_consequence(action, config, attempt, best))
    goes_on_from = best.round if action == "rollback" else previous
    return Decision(action, reasons, made, attempt, goes_on_from)


def answered(asked: Decision, answer: PersonsDecision, number: int) -> Decision:
    """The decision after a person's answer."""
    because = f" ({answer.reason})" if answer.reason else ""
    word = "yes" if answer.promote else "no"
    said = f"{answer.by} said {word} on {answer.at[:16].replace('T', ' ')} UTC{because}"
    action: Action = "promote" if answer.promote else "keep"
    goes_on_from = number if answer.promote else asked.goes_on_from
    return Decision(action, (said, *asked.reasons), asked.checks, asked.attempt, goes_on_from)


def _otherwise(config: GateConfig, attempt: int) -> Action:
    return "retry" if attempt <= len(config.retries) else config.last_resort


def _consequence(action: Action, config: GateConfig, attempt: int, best: Best) -> Iterator[str]:
    tries = len(config.retries) + 1
    if action == "retry":
        changes = _shown(config.retries[attempt - 1])
        yield f"attempt {attempt + 1} of {tries} follows under {changes}"
        return
    if tries > 1:
        yield f"that was attempt {attempt} of {tries}"
    if action == "rollback":
        where = "the base" if best.round == 0 else f"round {best.round}"
        yield (
            f"{where} stands best so far: lower end {best.low:.3f} of its win rate against the "
            "base on gate prompts"
        )


def _shown(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in changes.items())


def _said(decision: Decision) -> str:
    policy = _policy(decision.goes_on_from)
    return {
        "promote": "promoted",
        "keep": f"kept {policy}",
        "retry": "refused and tried again",
        "rollback": f"rolled back to {policy}",
        "ask": "not passed, so a person is asked",
        "stop": f"kept {policy} and ended the campaign",
    }[decision.action]


def _policy(number: int) -> str:
    return "the base" if number == 0 else f"the policy of round {number}"


def best_of(standing: Sequence[tuple[int, float | None]]) -> Best:
    """The best of promoted rounds, given (round, lower end against the base); of equals the first.

    The base wins one half of the comparisons with itself: what is not better does not go before it.
    """
    best = Best(0, 0.5)
    for number, low in standing:
        if low is not None and low > best.low:
            best = Best(number, low)
    return best
