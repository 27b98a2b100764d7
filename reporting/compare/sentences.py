"""Sentences about a comparison: headline, differences, shared rounds, warnings."""

from collections.abc import Iterator
from itertools import combinations

from reporting.compare.sides import CampaignComparison, Difference, Side, clip
from reporting.number_formats import format_estimate

_LEVEL = 0.95
"""Of the interval of a difference."""

_SECTIONS = {
    "sampling": "sampled with different settings (section `sampling`)",
    "evaluation": "evaluated with different settings (section `evaluation`)",
    "evaluation_judge": "judged by different judges (`evaluation_judge`)",
}


def headline(comparison: CampaignComparison) -> str:
    """Which campaign has the best current policy, if the intervals tell them apart."""
    finished = [side.label for side in comparison.sides if side.summary.rounds]
    if len(finished) < 2:
        only = f"Only {finished[0]}" if finished else "No campaign"
        return f"{only} has finished a round: there is nothing to compare yet."
    if not_comparable(comparison):
        return "The win rates of these campaigns are not comparable."
    if len(comparison.sides) == 2:
        sentences = tuple(map(_difference_sentence, comparison.differences))
        return sentences[0] if sentences else "The campaigns share no decided comparison."
    for side in comparison.sides:
        others = [d for d in comparison.differences if side.label in (d.first, d.second)]
        if len(others) == len(comparison.sides) - 1 and all(_wins(side.label, d) for d in others):
            return f"Clear winner: {side.label}, ahead of each of the others."
    return "No clear winner: no campaign is ahead of each of the others."


def _wins(label: str, difference: Difference) -> bool:
    """Whether the campaign is clearly better than the other one."""
    gained = difference.wins
    return gained.low > 0 if label == difference.second else gained.high < 0


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
    """The paired difference of each two campaigns; of only two, it is the headline."""
    if len(comparison.sides) == 2:
        return ()
    return tuple(map(_difference_sentence, comparison.differences))


def _difference_sentence(difference: Difference) -> str:
    """Seen from the better campaign, or else from the second."""
    first, second = difference.first, difference.second
    prompts = f"on the same {difference.prompts:,} test prompts"
    if difference.alike:
        return (
            f"No difference: {second} and {first} have the same wins and losses vs. base {prompts}."
        )
    wins = difference.wins
    ends = (wins.estimate, wins.low, wins.high)
    if _wins(first, difference):
        first, second = second, first
        ends = (-wins.estimate, -wins.high, -wins.low)
    value, low, high = (100 * share for share in ends)
    points = format_estimate("points", value, low, high, _LEVEL)
    what = "Clear winner" if low > 0 else "No clear winner"
    return f"{what}: {second} has {points} points of win rate vs. base against {first} {prompts}."


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
