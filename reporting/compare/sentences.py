"""What a comparison says, and what keeps it from saying more."""

from collections.abc import Iterator
from itertools import combinations

from reporting.compare.sides import CampaignComparison, Difference, Side, clip
from reporting.numbers import number

_SECTIONS = {
    "sampling": "sampled in another way (section sampling)",
    "evaluation": "evaluated on other numbers of prompts and answers (section evaluation)",
    "evaluation_judge": "judged by others (evaluation_judge)",
}


def headline(comparison: CampaignComparison) -> str:
    """Which campaign stands highest, as far as its interval allows to say so."""
    rated = [(rate, side) for side in comparison.sides if (rate := _wins(side)) is not None]
    if not rated:
        return "No campaign has a policy that was compared with its base yet."
    best = max(rate for rate, _ in rated)
    first = [side.label for rate, side in rated if rate == best]
    stand = "stand equally high" if len(first) > 1 else "stands highest"
    said = f"{' and '.join(first)} {stand}: {100 * best:.0f} % of wins against the base"
    if not_comparable(comparison):
        return f"{said}, but the campaigns cannot be compared by it."
    found = [d for d in comparison.differences if first[0] in (d.first, d.second)]
    if len(first) == 1 and len(found) == len(comparison.sides) - 1 and all(map(_clear, found)):
        return f"{said}, clearly more than the other{'s' if len(found) > 1 else ''}."
    return f"{said}; the intervals do not tell them apart."


def _wins(side: Side) -> float | None:
    """Of the policy that goes on; the base wins half against itself."""
    if not side.summary.rounds:
        return None
    return number(side.best, "win_rate_base") if side.incumbent else 0.5


def _clear(difference: Difference) -> bool:
    return difference.wins.low > 0 or difference.wins.high < 0


def shared(comparison: CampaignComparison) -> tuple[str, ...]:
    """Which campaigns have rounds in common, and where each branch comes from."""
    said = []
    for first, second in combinations(comparison.sides, 2):
        rounds = comparison.shared_rounds(first, second)
        if rounds:
            which = f"rounds 1 to {rounds}" if rounds > 1 else "round 1"
            said.append(f"{first.label} and {second.label} share {which}: the same policies.")
        elif first.base and first.base == second.base:
            said.append(f"{first.label} and {second.label} start from the same base policy.")
    return (*said, *_branches(comparison))


def _branches(comparison: CampaignComparison) -> Iterator[str]:
    for side in comparison.sides:
        if side.origin is not None:
            changes = "; ".join(map(clip, side.origin.changes)) or "nothing"
            yield (
                f"{side.label} is a branch of {clip(side.origin.name)} after round "
                f"{side.origin.round}; changed: {changes}."
            )


def differences(comparison: CampaignComparison) -> tuple[str, ...]:
    """The campaigns' policies prompt by prompt, two by two."""
    return tuple(map(_differs, comparison.differences))


def _differs(found: Difference) -> str:
    points, low, high = (100 * v for v in (found.wins.estimate, found.wins.low, found.wins.high))
    if found.alike:
        return (
            f"{found.second} wins against the base wherever {found.first} does, on the same "
            f"{found.prompts} test prompts."
        )
    verdict = "" if _clear(found) else ", which may be chance"
    return (
        f"{found.second} wins {points:+.1f} points [{low:+.1f}, {high:+.1f}] against the base "
        f"compared with {found.first}, on the same {found.prompts} test prompts{verdict}."
    )


def not_comparable(comparison: CampaignComparison) -> tuple[str, ...]:
    """Why win rates of these campaigns cannot be held against each other; empty where they can."""
    pairs = combinations(comparison.sides, 2)
    return tuple(said for first, second in pairs for said in _obstacles(first, second))


def _obstacles(first: Side, second: Side) -> Iterator[str]:
    both = f"{first.label} and {second.label}"
    if first.test_prompts != second.test_prompts:
        common = len(first.test_prompts & second.test_prompts)
        yield (
            f"{both} have different held-out prompts ({len(first.test_prompts)} and "
            f"{len(second.test_prompts)} test prompts, {common} in common): their win rates are "
            "not comparable."
        )
    if first.base != second.base:
        yield f"{both} have different base policies: wins against the base mean different things."
    for section, how in _SECTIONS.items():
        if first.answer_settings.get(section) != second.answer_settings.get(section):
            yield f"Held-out answers of {both} are {how}: their win rates are not comparable."
