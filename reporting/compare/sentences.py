"""Sentences about a comparison: headline, differences, shared rounds, warnings."""

from collections.abc import Iterator
from itertools import combinations

from reporting.compare.sides import CampaignComparison, Difference, Side, clip

_SECTIONS = {
    "sampling": "sampled with different settings (section `sampling`)",
    "evaluation": "evaluated with different settings (section `evaluation`)",
    "evaluation_judge": "judged by different judges (`evaluation_judge`)",
}


def headline(comparison: CampaignComparison) -> str:
    """Which campaign has the best current policy, if the intervals tell them apart."""
    rated = [(rate, side) for side in comparison.sides if (rate := _win_rate(side)) is not None]
    if not rated:
        return "No campaign has been compared with its base yet."
    best = max(rate for rate, _ in rated)
    leaders = [side.label for rate, side in rated if rate == best]
    leader = f"{' and '.join(leaders)}: win rate vs. base {100 * best:.0f}%"
    if not_comparable(comparison):
        return f"Win rates are not comparable. Highest: {leader}."
    if len(leaders) > 1:
        return f"No clear winner: {leader} each."
    differences = [d for d in comparison.differences if leaders[0] in (d.first, d.second)]
    if len(differences) == len(comparison.sides) - 1 and all(map(_clear, differences)):
        return f"Clear winner: {leader}."
    if len(differences) == len(comparison.sides) - 1 == 1:
        return f"No clear winner: {leaders[0]} {_points(differences[0], leaders[0])}."
    return f"No clear winner. Highest: {leader}."


def _win_rate(side: Side) -> float | None:
    """Of the current policy; the base has one half against itself."""
    if not side.summary.rounds:
        return None
    return side.incumbent_row.number("win_rate_base") if side.incumbent else 0.5


def _points(difference: Difference, label: str) -> str:
    """The difference in percentage points as seen from the campaign `label`."""
    wins = difference.wins
    ends = (wins.estimate, wins.low, wins.high)
    if label == difference.first:
        ends = (-wins.estimate, -wins.high, -wins.low)
    points, low, high = (100 * share for share in ends)
    return f"{points:+.1f} points (95% CI {low:.1f} to {high:.1f})".replace("-", "−")


def _clear(difference: Difference) -> bool:
    return difference.wins.low > 0 or difference.wins.high < 0


def shared(comparison: CampaignComparison) -> tuple[str, ...]:
    """Which campaigns share rounds or the base, and where each branch comes from."""
    sentences = []
    for first, second in combinations(comparison.sides, 2):
        rounds = comparison.shared_rounds(first, second)
        if rounds:
            which = f"rounds 1 to {rounds}" if rounds > 1 else "round 1"
            sentences.append(f"{first.label} and {second.label} share {which}: the same policies.")
        elif first.base and first.base == second.base:
            sentences.append(f"{first.label} and {second.label} start from the same base policy.")
    return (*sentences, *_branches(comparison))


def _branches(comparison: CampaignComparison) -> Iterator[str]:
    for side in comparison.sides:
        if side.origin is not None:
            changes = "; ".join(map(clip, side.origin.changes)) or "nothing"
            yield (
                f"{side.label} is a branch of {clip(side.origin.name)} after round "
                f"{side.origin.round}; changed: {changes}."
            )


def differences(comparison: CampaignComparison) -> tuple[str, ...]:
    """The paired difference of each two campaigns."""
    return tuple(map(_difference_sentence, comparison.differences))


def _difference_sentence(difference: Difference) -> str:
    pair = f"{difference.second} vs. {difference.first}"
    prompts = f"the same {difference.prompts} test prompts"
    if difference.alike:
        return f"{pair}: the same wins and losses against the base on {prompts}."
    chance = "" if _clear(difference) else ", which may be chance"
    points = _points(difference, difference.second)
    return f"{pair}: {points} of win rate vs. base on {prompts}{chance}."


def not_comparable(comparison: CampaignComparison) -> tuple[str, ...]:
    """Why the win rates of these campaigns cannot be compared; empty if they can."""
    pairs = combinations(comparison.sides, 2)
    return tuple(reason for first, second in pairs for reason in _obstacles(first, second))


def _obstacles(first: Side, second: Side) -> Iterator[str]:
    pair = f"{first.label} and {second.label}"
    if first.test_prompts != second.test_prompts:
        common = len(first.test_prompts & second.test_prompts)
        yield (
            f"{pair} have different held-out prompts ({len(first.test_prompts)} and "
            f"{len(second.test_prompts)} test prompts, {common} in common): their win rates are "
            "not comparable."
        )
    if first.base != second.base:
        yield f"{pair} have different base policies: their win rates vs. base are not comparable."
    for section, how in _SECTIONS.items():
        if first.answer_settings.get(section) != second.answer_settings.get(section):
            yield f"Held-out answers of {pair} were {how}: their win rates are not comparable."
