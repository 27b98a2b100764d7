"""The gate's decision on a round's policy: a pure function of its evaluation's metrics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from dpo_core.campaign.gate_record import GateCheck, PersonsDecision
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.gate.checks import CheckResult, checks, notices
from dpo_core.gate.config import GateConfig
from dpo_core.text import counted

Action = Literal["promote", "keep", "retry", "rollback", "ask", "stop"]


@dataclass(frozen=True)
class Best:
    """The promoted round with the best win rate against the base on gate prompts. Round 0 is the
    base itself, at 0.5.

    low: lower end of the confidence interval of that win rate.
    """

    round: int
    low: float


@dataclass(frozen=True)
class Decision:
    """What happens to a round's policy.

    reasons: sentences. attempt: number of the attempt at the round, from 1. goes_on_from: the round
    whose policy the next round starts from.
    """

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
        """The outcome and its reasons. Of a promotion only the first is spelled out: if a person
        promoted, it says so, and what had failed is in `reasons`."""
        reasons = self.reasons
        count = len(self.checks)
        if self.promoted and not all(check.passed for check in self.checks):
            reasons = reasons[:1]
        elif self.promoted and count > 1:
            passed = f"{counted(count - 1, 'other check')} passed"
            reasons = (reasons[0], passed, *reasons[count:])
        return f"{_outcome_text(self)}: {'; '.join(reasons)}"

    def as_json(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Decision":
        return _RECORDED.validate_python(data)


_RECORDED = TypeAdapter(Decision)


def decide(
    numbers: RoundMetrics,
    config: GateConfig,
    *,
    previous: int,
    best: Best,
    attempt: int = 1,
    certified: bool = False,
    more: Sequence[CheckResult] = (),
) -> Decision:
    """Decide on the policy of a round, which started from the policy of round `previous`.

    Args:
        numbers: metrics of its evaluation.
        config: section `gate` of the config.
        previous: the round whose policy this one started from; 0 is the base.
        best: where a rollback goes.
        attempt: number of the attempt at the round, from 1.
        certified: whether a certificate is among them, in place of the win rate's interval.
        more: results of checks that need more than `numbers`, such as the certificate.

    Returns:
        "promote" if every check passes, else what `gate.otherwise` says.
    """
    results = [*checks(numbers, config, certified=certified), *more]
    all_checks = tuple(check for check, _ in results)
    if all(check.passed for check in all_checks):
        reasons = (*(sentence for _, sentence in results), *notices(numbers, config).values())
        return Decision("promote", reasons, all_checks, attempt, numbers.round)
    action = _action_on_failure(config, attempt)
    failed = (sentence for check, sentence in results if not check.passed)
    reasons = (*failed, *_consequence(action, config, attempt, best))
    goes_on_from = best.round if action == "rollback" else previous
    return Decision(action, reasons, all_checks, attempt, goes_on_from)


def apply_answer(asked: Decision, answer: PersonsDecision, number: int) -> Decision:
    """The decision on round `number` after a person answered the question `asked`."""
    because = f" ({answer.reason})" if answer.reason else ""
    at = answer.at[:16].replace("T", " ")
    sentence = f"decided by {answer.by} on {at} UTC{because}"
    action: Action = "promote" if answer.promote else "keep"
    goes_on_from = number if answer.promote else asked.goes_on_from
    reasons = (sentence, *asked.reasons)
    return Decision(action, reasons, asked.checks, asked.attempt, goes_on_from)


def _action_on_failure(config: GateConfig, attempt: int) -> Action:
    return "retry" if attempt <= len(config.retries) else config.last_resort


def _consequence(action: Action, config: GateConfig, attempt: int, best: Best) -> Iterator[str]:
    tries = len(config.retries) + 1
    if action == "retry":
        changes = _format_changes(config.retries[attempt - 1])
        yield f"attempt {attempt + 1} of {tries} follows with {changes}"
        return
    if tries > 1:
        yield f"attempt {attempt} of {tries}"
    if action == "rollback":
        yield (
            f"{_policy(best.round)} is the best so far, with lower bound "
            f"{round(100 * best.low, 1):g}% of its win rate vs. base on gate prompts"
        )


def _format_changes(changes: Mapping[str, object]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in changes.items())


def _outcome_text(decision: Decision) -> str:
    policy = _policy(decision.goes_on_from)
    return {
        "promote": "promoted",
        "keep": f"not promoted, {policy} stays current",
        # Part of the recipe of the gate step of the next attempt: another wording would make the
        # retried rounds of finished campaigns anew.
        "retry": "refused and tried again",
        "rollback": f"not promoted, rolled back to {policy}",
        "ask": "needs your decision",
        "stop": f"not promoted, campaign ended, {policy} stays current",
    }[decision.action]


def _policy(number: int) -> str:
    return "the base" if number == 0 else f"round {number}"


def find_best(promoted: Sequence[tuple[int, float | None]]) -> Best:
    """The best of promoted rounds, or the base (0.5 against itself) if none is better.

    Args:
        promoted: (round, lower end of its win rate against the base); of equals the first wins.

    Example:
        >>> find_best([(1, 0.49), (2, 0.6), (3, 0.6)])
        Best(round=2, low=0.6)
    """
    best = Best(0, 0.5)
    for number, low in promoted:
        if low is not None and low > best.low:
            best = Best(number, low)
    return best
