"""What a policy must show to be promoted: pure functions of its evaluation's numbers.

Every condition is a check with its value and its bound, said in a sentence. A number that could not
be measured passes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpo_core.evaluation.comparison import kl_budget_nats
from dpo_core.gate.config import GateConfig, Range
from dpo_core.training.metrics.suggested_values import suggest_higher_beta, suggest_lower_rate

Numbers = Mapping[str, Any]
"""Of an evaluation, by the names of dpo_core.evaluation.round_metrics."""

_ROUNDING = 1e-9
"""0.15 - 0.1 is a little more than 0.05."""


@dataclass(frozen=True)
class GateCheck:
    """One condition of promotion. A value that could not be measured is None, and fails."""

    name: str
    value: float | None
    bound: float | None
    passed: bool


CheckResult = tuple[GateCheck, str]
"""A check, and what it came to in a sentence."""


def checks(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    """Every check that the config asks for, the win rate first."""
    for one in _CHECKS:
        yield from one(numbers, config)


def notices(numbers: Numbers, config: GateConfig) -> dict[str, str]:
    """name → what is not checked although the config means it to be, and why."""
    if config.kl_budget != "auto" or numbers.get("kl_base_nats") is not None:
        return {}
    return {
        "KL budget": "the KL to the base cannot be measured, which needs sampling.temperature 1 "
        "and sampling.top_p 1, so gate.kl_budget auto limits nothing"
    }


def values_to_try(checks: Iterable[GateCheck], trained: Mapping[str, Any]) -> dict[str, str]:
    """name → what another round might be trained with, where the KL to the base was too much.

    trained: learning rate and β of the round that was too much; nothing is said without them.
    """
    for check in checks:
        if check.name != "kl_base_nats" or check.passed or not trained:
            continue
        if check.value is not None and check.bound is not None:
            rate, beta = trained["learning_rate"], trained["beta"]
            lower_rate = suggest_lower_rate(rate, check.value, check.bound)
            higher_beta = suggest_higher_beta(beta, check.value, check.bound)
            return {
                "too far": f"{check.value:.2f} nats from the base, {check.bound:.4g} are allowed: "
                f"try training.learning_rate {lower_rate:g} (now {rate:g}), or training.beta "
                f"{higher_beta:g} (now {beta:g})"
            }
    return {}


def _win_rate(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    if numbers.get("certified") and config.win_rate == "plain":  # the test says it better
        return
    yield _rate(numbers, config, config.win_rate == "length_controlled")
    if config.win_rate == "length_controlled" and numbers.get("lc_win_rate_gate_extrapolated"):
        # Hardly any answers were equally long, so it says what no comparison shows.
        check, said = _rate(numbers, config, controlled=False)
        yield check, f"{said}, which counts too: the length-controlled one is extrapolated"


def _rate(numbers: Numbers, config: GateConfig, controlled: bool) -> CheckResult:
    lower = config.use == "lower"
    name = f"{'lc_' if controlled else ''}win_rate_gate{'_low' if lower else ''}"
    what = f"{'lower end of the ' if lower else ''}{'length-controlled ' if controlled else ''}"
    what += "gate win rate"
    if controlled and numbers.get("lc_win_rate_gate_extrapolated"):
        what += " (extrapolated)"
    value = numbers.get(name)
    passed = value is not None and value > config.threshold
    check = GateCheck(name, value, config.threshold, passed)
    if value is None:
        return check, f"no {what}, no gate comparison could be read"
    relation = "is above" if passed else "is not above"
    return check, f"{what} {value:.3f} {relation} {config.threshold:g}"


def _decided(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    least = config.decided_share
    if least is None:
        return
    found = (numbers.get("decided") or {}).get("gate") or {}
    of, decided = found.get("comparisons") or 0, found.get("decided") or 0
    value = decided / of if of else None
    passed = value is not None and value >= least
    check = GateCheck("decided_share", value, least, passed)
    said = f"{decided} of {of} gate comparisons were decided"
    if passed:
        yield check, f"{said}, at least {_percent(least)}"
    else:
        why = "; ".join(f"{reason}: {count}" for reason, count in found.get("why", {}).items())
        yield check, f"{said}, fewer than {_percent(least)}" + (f" ({why})" if why else "")


def _kl(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    value = numbers.get("kl_base_nats")
    if config.kl_budget is None or (config.kl_budget == "auto" and value is None):
        return
    budget = kl_budget_nats(config.kl_budget, numbers.get("length_mean_base"))
    passed = value is not None and budget is not None and value <= budget
    check = GateCheck("kl_base_nats", value, budget, passed)
    if value is None or budget is None:
        what = "KL to the base" if value is None else "base's mean length"
        yield check, f"the {what} was not measured, and gate.kl_budget is {config.kl_budget}"
        return
    relation = "is within the" if passed else "is more than the"
    yield check, f"KL to the base {value:.2f} nats {relation} {budget:.4g} that are allowed"


def _length(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    for key, other, name in (
        ("length", "previous", "the last promoted policy's"),
        ("length_base", "base", "the base's"),
    ):
        allowed: Range | None = getattr(config, key)
        if allowed is not None:
            ours, theirs = numbers.get("length_mean"), numbers.get(f"length_mean_{other}")
            yield _ratio(f"length_to_{other}", ours, theirs, allowed, name)


def _ratio(
    name: str, ours: float | None, theirs: float | None, allowed: Range, whose: str
) -> CheckResult:
    """The bound of the check is the end of the range that the value is nearer to."""
    value = None if ours is None or not theirs else ours / theirs
    if value is None:
        return GateCheck(name, None, None, False), f"no mean length to compare with {whose}"
    least, most = allowed
    passed = least <= value <= most
    check = GateCheck(name, value, least if value < 1 else most, passed)
    relation = "within" if passed else "not within"
    return check, (
        f"mean length {ours:.1f} tokens is {value:.2f} times {whose}, {relation} "
        f"{least:g} to {most:g}"
    )


def _rises(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    for key, name, what in (
        ("truncated_rise", "truncated_share", "truncated answers"),
        ("repetition_rise", "token_repetition", "repeated runs of tokens"),
    ):
        allowed: float | None = getattr(config, key)
        if allowed is not None:
            yield _rise(key, what, allowed, *_beside(numbers, name))


def _rise(
    key: str, what: str, allowed: float, ours: float | None, theirs: list[float]
) -> CheckResult:
    """Above the lower of the others: rises of single rounds would add up, and one above a policy
    that had improved on the base would hide."""
    if ours is None or not theirs:
        return GateCheck(key, None, allowed, False), f"the share of {what} was not measured"
    value = ours - min(theirs)
    passed = value <= allowed + _ROUNDING
    relation = "within" if passed else "more than"
    return GateCheck(key, value, allowed, passed), (
        f"{_percent(ours)} {what} after {_percent(min(theirs))}, {relation} the "
        f"{_percent(allowed)} that they may rise"
    )


def _empty(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    if config.empty_share is None:
        return
    value = numbers.get("empty_share")
    bound = max(config.empty_share, numbers.get("empty_share_previous") or 0.0)
    passed = value is not None and value <= bound
    check = GateCheck("empty_share", value, bound, passed)
    if value is None:
        yield check, "the share of empty answers was not measured"
        return
    relation = "within" if passed else "more than"
    yield check, f"{_percent(value)} empty answers, {relation} the {_percent(bound)} allowed"


def _relevance(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    """Nothing where relevance is not measured."""
    if config.relevance_fall is None or "relevance" not in numbers:
        return
    for other, whose in (("previous", "the last promoted policy's"), ("base", "the base's")):
        yield _fall(other, whose, numbers, config.relevance_fall)


def _fall(other: str, whose: str, numbers: Numbers, allowed: float) -> CheckResult:
    """A fall must be clear as well, the whole interval of the change below 0: answers are few."""
    change, high = (numbers.get(f"relevance_change_{other}{end}") for end in ("", "_high"))
    name = f"relevance_to_{other}"
    if change is None or high is None:
        return GateCheck(name, None, allowed, False), (
            f"whether fewer answers belong to their requests than {whose} was not measured"
        )
    passed = high >= 0 or -change <= allowed + _ROUNDING
    check = GateCheck(name, -change, allowed, passed)
    theirs = numbers.get(f"relevance_{other}")
    said = f"the base finds the requests of {_share(numbers.get('relevance'))} of the answers, "
    said += f"{_share(theirs)} of {whose}"
    if passed:
        return check, f"{said}: no clear fall by more than {_percent(allowed)}"
    low = numbers.get(f"relevance_change_{other}_low")
    ends = f"[{_percent(-high)}, {_percent(-(low or 0.0))}]"
    return check, f"{said}: a fall by {_percent(-change)} {ends}, more than {_percent(allowed)}"


def _share(value: float | None) -> str:
    return "nothing" if value is None else _percent(value)


def _suites(numbers: Numbers, config: GateConfig) -> Iterator[CheckResult]:
    for name, suite in sorted((numbers.get("suites") or {}).items()):
        yield _suite(name, suite)
        if config.decided_share is not None:
            yield _suite_decided(name, suite, config.decided_share)


def _suite(name: str, suite: Mapping[str, Any]) -> CheckResult:
    failed = bool(suite["failed"])
    check = GateCheck(f"suite {name}", suite.get("score"), suite.get("before"), not failed)
    if failed:
        fell = f"fell from {_score(suite.get('before'))} to {_score(suite.get('score'))}"
        return check, f"regression suite {name} {fell}"
    return check, f"regression suite {name} did not fall ({_score(suite.get('score'))})"


def _suite_decided(name: str, suite: Mapping[str, Any], least: float) -> CheckResult:
    of, decided = suite.get("answers") or 0, suite.get("compared") or 0
    value = decided / of if of else None
    passed = value is not None and value >= least
    relation = "at least" if passed else "fewer than"
    return GateCheck(f"suite {name} decided_share", value, least, passed), (
        f"{decided} of {of} answers to regression suite {name} were scored for both policies, "
        f"{relation} {_percent(least)}"
    )


def _beside(numbers: Numbers, name: str) -> tuple[float | None, list[float]]:
    """A number of the policy; and of the last promoted one and the base, where they are known."""
    others = (numbers.get(f"{name}_{other}") for other in ("previous", "base"))
    return numbers.get(name), [value for value in others if value is not None]


def _percent(share: float) -> str:
    return f"{round(100 * share, 1):g} %"


def _score(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3f}"


_CHECKS: tuple[Callable[[Numbers, GateConfig], Iterator[CheckResult]], ...] = (
    _win_rate,
    _decided,
    _kl,
    _length,
    _rises,
    _empty,
    _relevance,
    _suites,
)


def certificate_checks(
    facts: Mapping[str, Any], *, groups: bool = False
) -> Iterator[tuple[GateCheck, str]]:
    """The check of a round that could be tested; nothing where no unused prompts were left.

    groups: whether prompts of one group are one outcome.
    """
    if not facts["certified"]:
        return
    passed = bool(facts["passed"])
    check = GateCheck("log_e", facts["log_e"], facts["needed"], passed)
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
