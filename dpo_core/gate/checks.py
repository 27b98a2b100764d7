"""The gate's checks: pure functions of the metrics of a policy's evaluation.

Each condition of promotion is a `GateCheck` with its value and its bound, and a sentence that
explains the result. A check whose metric is missing fails.
"""

from collections.abc import Callable, Iterable, Iterator

from dpo_core.campaign.gate_record import GateCheck
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.campaign.round_parts import DecidedNumbers, SuiteNumbers
from dpo_core.campaign.step_facts import CertificateFacts
from dpo_core.evaluation.comparison import kl_budget_nats
from dpo_core.gate.config import GateConfig, Range
from dpo_core.training.metrics.suggested_values import suggest_higher_beta, suggest_lower_rate

_ROUNDING = 1e-9
"""Tolerance for floating-point error: 0.15 - 0.1 is slightly more than 0.05."""


CheckResult = tuple[GateCheck, str]
"""A check, and a sentence that explains its result."""


def checks(
    numbers: RoundMetrics, config: GateConfig, *, certified: bool = False
) -> Iterator[CheckResult]:
    """Run the checks that the config enables.

    Args:
        numbers: metrics of the evaluation.
        config: section `gate` of the config; a bound of None turns its check off.
        certified: whether a certificate replaces the interval of the plain win rate.

    Returns:
        Iterator over (check, sentence); the win rate comes first.

    Example:
        >>> off = {key: None for key in ("decided_share", "kl_budget", "length", "length_base")}
        >>> off |= {key: None for key in ("truncated_rise", "empty_share", "repetition_rise")}
        >>> numbers = RoundMetrics(round=1, win_rate_gate=0.61, win_rate_gate_low=0.55)
        >>> [sentence for _, sentence in checks(numbers, GateConfig(**off))]
        ['lower bound 55% of the gate win rate (61%) is above the 50% threshold']
    """
    if not certified or config.win_rate != "plain":
        yield from _win_rate(numbers, config)
    for run in _CHECKS:
        yield from run(numbers, config)


def notices(numbers: RoundMetrics, config: GateConfig) -> dict[str, str]:
    """name → why a check that the config enables has no effect."""
    if config.kl_budget != "auto" or numbers.kl_base_nats is not None:
        return {}
    return {
        "KL budget": "gate.kl_budget auto has no effect: KL to base is only measured with "
        "sampling.temperature 1 and sampling.top_p 1"
    }


def values_to_try(
    checks: Iterable[GateCheck], learning_rate: float | None, beta: float | None
) -> dict[str, str]:
    """Suggest training settings for the next round if the KL to the base exceeded its budget.

    Args:
        checks: the checks of the round.
        learning_rate, beta: of the round; None for rounds of older versions.

    Returns:
        {"too far": sentence}, or {} if the KL is within its budget or nothing was recorded.
    """
    for check in checks:
        if check.name != "kl_base_nats" or check.passed or learning_rate is None or beta is None:
            continue
        if check.value is not None and check.bound is not None:
            lower_rate = suggest_lower_rate(learning_rate, check.value, check.bound)
            higher_beta = suggest_higher_beta(beta, check.value, check.bound)
            return {
                "too far": f"KL to base {check.value:.2f} nats exceeds the budget of "
                f"{check.bound:.4g}: try training.learning_rate "
                f"{lower_rate:g} (now {learning_rate:g}), or training.beta "
                f"{higher_beta:g} (now {beta:g})"
            }
    return {}


def _win_rate(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    yield _rate(numbers, config, config.win_rate == "length_controlled")
    if config.win_rate == "length_controlled" and numbers.lc_win_rate_gate_extrapolated:
        # Hardly any pair of answers has equal lengths, so no comparison supports the estimate.
        check, sentence = _rate(numbers, config, controlled=False)
        yield (
            check,
            f"{sentence} (checked too, because the length-controlled win rate is extrapolated)",
        )


def _rate(numbers: RoundMetrics, config: GateConfig, controlled: bool) -> CheckResult:
    lower, prefix = config.use == "lower", "lc_" if controlled else ""
    estimate = numbers.number(f"{prefix}win_rate_gate")
    name = f"{prefix}win_rate_gate{'_low' if lower else ''}"
    what = f"{'length-controlled ' if controlled else ''}gate win rate"
    value = numbers.number(name)
    passed = value is not None and value > config.threshold
    check = GateCheck(name, value, config.threshold, passed)
    if value is None:
        return check, f"the {what} was not measured: no gate comparison could be read"
    extrapolated = controlled and numbers.lc_win_rate_gate_extrapolated
    notes = [_percent(estimate)] if lower and estimate is not None else []
    notes += ["extrapolated"] if extrapolated else []
    note = f" ({', '.join(notes)})" if notes else ""
    relation = "is above" if passed else "is not above"
    subject = f"lower bound {_percent(value)} of the {what}{note}"
    if not lower:
        subject = f"{what} {_percent(value)}{note}"
    return check, f"{subject} {relation} the {_percent(config.threshold)} threshold"


def _decided_share(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    least = config.decided_share
    if least is None:
        return
    counts = (numbers.decided or {}).get("gate", DecidedNumbers())
    total, decided = counts.comparisons, counts.decided
    value = decided / total if total else None
    passed = value is not None and value >= least
    check = GateCheck("decided_share", value, least, passed)
    sentence = f"{decided} of {total} gate comparisons were decided"
    if passed:
        yield check, f"{sentence}, at least the required {_percent(least)}"
    else:
        why = "; ".join(f"{reason}: {count}" for reason, count in counts.why.items())
        reasons = f" (undecided because: {why})" if why else ""
        yield check, f"{sentence}, fewer than the required {_percent(least)}{reasons}"


def _kl(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    value = numbers.kl_base_nats
    if config.kl_budget is None or (config.kl_budget == "auto" and value is None):
        return
    budget = kl_budget_nats(config.kl_budget, numbers.length_mean_base)
    passed = value is not None and budget is not None and value <= budget
    check = GateCheck("kl_base_nats", value, budget, passed)
    if value is None or budget is None:
        what = "KL to base" if value is None else "the base's mean length"
        yield check, f"{what} was not measured, but gate.kl_budget is {config.kl_budget}"
        return
    relation = "is within" if passed else "exceeds"
    yield check, f"KL to base {value:.2f} nats {relation} the budget of {budget:.4g}"


def _length(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    for key, other, name in (
        ("length", "previous", "the last promoted policy's"),
        ("length_base", "base", "the base's"),
    ):
        allowed: Range | None = getattr(config, key)
        if allowed is not None:
            ours, theirs = numbers.length_mean, numbers.number(f"length_mean_{other}")
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
    relation = "within" if passed else "outside"
    return check, (
        f"mean length {ours:.1f} tokens is {value:.2f} times {whose}, {relation} the allowed "
        f"{least:g} to {most:g}"
    )


def _rises(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    for key, name, what in (
        ("truncated_rise", "truncated_share", "truncated answers"),
        ("repetition_rise", "token_repetition", "repeated token n-grams"),
    ):
        allowed: float | None = getattr(config, key)
        if allowed is not None:
            yield _rise(key, what, allowed, *_beside(numbers, name))


def _rise(
    key: str, what: str, allowed: float, ours: float | None, theirs: list[float]
) -> CheckResult:
    """Compare with the lower of the others: otherwise small rises would add up over rounds, and a
    rise after a policy that had improved on the base would go unnoticed."""
    if ours is None or not theirs:
        return GateCheck(key, None, allowed, False), f"the share of {what} was not measured"
    value = ours - min(theirs)
    passed = value <= allowed + _ROUNDING
    relation = "within" if passed else "more than"
    return GateCheck(key, value, allowed, passed), (
        f"{what} went from {_percent(min(theirs))} to {_percent(ours)}, {relation} the allowed "
        f"rise of {format_points(allowed)}"
    )


def _empty(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    if config.empty_share is None:
        return
    value = numbers.empty_share
    bound = max(config.empty_share, numbers.empty_share_previous or 0.0)
    passed = value is not None and value <= bound
    check = GateCheck("empty_share", value, bound, passed)
    if value is None:
        yield check, "the share of empty answers was not measured"
        return
    relation = "within" if passed else "more than"
    yield check, f"{_percent(value)} of answers are empty, {relation} the allowed {_percent(bound)}"


def _relevance(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    """Nothing if relevance was not measured."""
    if config.relevance_fall is None or "relevance" not in numbers.model_fields_set:
        return
    for other, whose in (("previous", "the last promoted policy"), ("base", "the base")):
        yield _fall(other, whose, numbers, config.relevance_fall)


def _fall(other: str, whose: str, numbers: RoundMetrics, allowed: float) -> CheckResult:
    """Fails only if the whole interval of the change is below 0, because answers are few."""
    change, low, high = numbers.interval(f"relevance_change_{other}")
    name = f"relevance_to_{other}"
    if change is None or high is None:
        return GateCheck(name, None, allowed, False), (
            f"the change of relevance vs. {whose} was not measured"
        )
    passed = high >= 0 or -change <= allowed + _ROUNDING
    check = GateCheck(name, -change, allowed, passed)
    ours, theirs = (_share(numbers.number(key)) for key in ("relevance", f"relevance_{other}"))
    sentence = f"{ours} of answers match their prompts, vs. {theirs} for {whose}"
    if passed:
        return check, f"{sentence}: no clear fall of more than {format_points(allowed)}"
    interval = f"CI {_number(-high)} to {_number(-(low or 0.0))}"
    return check, (
        f"{sentence}: a fall of {format_points(-change)} ({interval}), more than the allowed "
        f"{format_points(allowed)}"
    )


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else _percent(value)


def _suites(numbers: RoundMetrics, config: GateConfig) -> Iterator[CheckResult]:
    for name, suite in sorted((numbers.suites or {}).items()):
        yield _suite(name, suite)
        if config.decided_share is not None:
            yield _suite_decided(name, suite, config.decided_share)


def _suite(name: str, suite: SuiteNumbers) -> CheckResult:
    check = GateCheck(f"suite {name}", suite.score, suite.before, not suite.failed)
    if suite.failed:
        fell = f"fell from {_score(suite.before)} to {_score(suite.score)}"
        return check, f"regression suite {name} {fell}"
    return check, f"regression suite {name} did not fall ({_score(suite.score)})"


def _suite_decided(name: str, suite: SuiteNumbers, least: float) -> CheckResult:
    total, scored = suite.answers, suite.compared
    value = scored / total if total else None
    passed = value is not None and value >= least
    relation = "at least" if passed else "fewer than"
    return GateCheck(f"suite {name} decided_share", value, least, passed), (
        f"{scored} of {total} answers to regression suite {name} were scored for both policies, "
        f"{relation} the required {_percent(least)}"
    )


def _beside(numbers: RoundMetrics, name: str) -> tuple[float | None, list[float]]:
    """A metric of the policy, and those of the last promoted one and the base that are known."""
    others = (numbers.number(f"{name}_{other}") for other in ("previous", "base"))
    return numbers.number(name), [value for value in others if value is not None]


def _number(share: float) -> str:
    return f"{round(100 * share, 1):g}"


def _percent(share: float) -> str:
    return f"{_number(share)}%"


def format_points(share: float) -> str:
    """A difference of two shares in percentage points.

    Example:
        >>> format_points(0.05), format_points(-0.01)
        ('5 points', '-1 points')
    """
    number = _number(share)
    return f"{number} point" if number == "1" else f"{number} points"


def _score(value: float | None) -> str:
    return "an unknown score" if value is None else f"{value:.3f}"


_CHECKS: tuple[Callable[[RoundMetrics, GateConfig], Iterator[CheckResult]], ...] = (
    _decided_share,
    _kl,
    _length,
    _rises,
    _empty,
    _relevance,
    _suites,
)


def certificate_checks(facts: CertificateFacts, *, groups: bool = False) -> Iterator[CheckResult]:
    """The check of a certified gate; nothing if too few unused gate prompts were left for a test.

    Args:
        facts: of the step `certificate`.
        groups: whether the prompts of one group count as one outcome.
    """
    if not facts.certified:
        return
    assert facts.log_e is not None and facts.needed is not None, "a test has both"
    check = GateCheck("log_e", facts.log_e, facts.needed, facts.passed)
    relation = "reaches" if facts.passed else "does not reach"
    units = facts.reached_at if facts.passed else facts.units
    what = "groups of gate prompts" if groups else "gate prompts"
    if facts.about == "gate_set":  # a claim about these prompts only, each by itself
        what = "prompts of the gate set alone"
    yield (
        check,
        f"evidence {facts.log_e:.2f} nats after {units} {what} {relation} the {facts.needed:.2f} "
        f"required for decision {facts.decision} of {facts.planned}",
    )
