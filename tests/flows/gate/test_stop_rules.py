"""When a campaign ends early, from the numbers of its rounds alone."""

from collections.abc import Sequence
from typing import Any

from dpo_core.campaign.current import StopReason
from dpo_core.campaign.gate_record import GateRecord
from dpo_core.campaign.rollbacks import Rollback
from dpo_core.campaign.round_metrics import RoundMetrics
from dpo_core.gate.config import StopConfig
from dpo_core.gate.stop_rules import stop_rule


def row(
    number: int, against_base: float, promoted: bool, goes_on_from: int | None = None, **others: Any
) -> RoundMetrics:
    return RoundMetrics(
        round=number,
        promoted=promoted,
        win_rate_gate_base=against_base,
        gate=GateRecord(goes_on_from=number if promoted else goes_on_from),
        **others,
    )


def stopped(
    rows: list[RoundMetrics], people: Sequence[Rollback] = (), **stop: Any
) -> StopReason | None:
    return stop_rule(rows, StopConfig.model_validate(stop), people)


def back(after: int, to: int) -> Rollback:
    return Rollback(after, to, "me", "2026-01-05T10:00:00+00:00", "")


def test_without_rules_nothing_stops() -> None:
    rows = [row(1, 0.4, False, gpu_seconds=1e9, money=1e9, seconds_round=1e9)]
    assert stopped(rows) is None


def test_rounds_are_counted_in_all() -> None:
    rows = [row(1, 0.6, True), row(2, 0.4, False)]
    assert stopped(rows, rounds=3) is None
    assert stopped(rows, rounds=2) == StopReason("rounds", "2 of 2 rounds done")


def test_a_plateau_is_so_many_rounds_in_a_row() -> None:
    gains = [row(1, 0.6, True), row(2, 0.63, True), row(3, 0.55, False), row(4, 0.632, True)]
    # Round 4 began at round 2, and gains 0.002 on it.
    assert stopped(gains, plateau=3) is None
    assert stopped(gains, plateau=2) is None
    assert stopped(gains[:3], plateau=1) == StopReason(
        "plateau",
        "no promoted policy gained more than 0 points of win rate vs. base in one round",
    )
    found = stopped(gains, plateau={"rounds": 2, "gain": 0.01})
    assert found is not None
    assert found.sentence.endswith("more than 1 point of win rate vs. base for 2 rounds in a row")
    assert stopped(gains, plateau={"rounds": 3, "gain": 0.01}) is None, "round 2 gained 0.03"
    assert stopped(gains, plateau={"rounds": 3, "gain": 0.05}) is not None


def test_a_gain_is_measured_from_where_the_round_began() -> None:
    fell = [row(1, 0.7, True), row(2, 0.6, True), row(3, 0.5, False, goes_on_from=1)]
    # Rolled back to round 1 with its 0.7: 0.69 is no gain, although round 2 stood at 0.6.
    assert stopped([*fell, row(4, 0.69, True)], plateau=2) is not None
    assert stopped([*fell, row(4, 0.71, True)], plateau=2) is None


def test_a_gain_is_measured_from_where_a_person_let_it_begin() -> None:
    # A person went back from round 3's 0.9, which was no true gain, to round 1.
    rows = [row(1, 0.6, True), row(2, 0.8, True), row(3, 0.9, True)]
    later = [*rows, row(4, 0.65, True), row(5, 0.7, True)]
    people = [back(3, 1)]
    assert stopped(later[:4], plateau=1) is not None, "without that word it would be a loss"
    assert stopped(later, people, plateau=2) is None, "rounds 4 and 5 gain 0.05 each on round 1"
    assert stopped([*rows, row(4, 0.58, True)], people, plateau=1) is not None
    # Back to the base: one half is to be beaten.
    assert stopped([*rows, row(4, 0.55, True)], [back(3, 0)], plateau=1) is None


def test_a_gain_is_none_by_a_win_rate_that_is_extrapolated() -> None:
    def controlled(number: int, plain: float, low: float, extrapolated: bool) -> RoundMetrics:
        lc = "lc_win_rate_gate_base"
        return row(number, plain, True, **{lc: low, f"{lc}_extrapolated": extrapolated})

    first = controlled(1, 0.7, 0.6, False)
    assert stopped([first, controlled(2, 0.68, 0.65, False)], plateau=1) is None
    assert stopped([first, controlled(2, 0.68, 0.9, True)], plateau=1) is not None
    assert stopped([first, controlled(2, 0.72, 0.5, True)], plateau=1) is None
    # Nor from one: 0.68 is measured from 0.7, and not from 0.9.
    short = controlled(1, 0.7, 0.9, True)
    assert stopped([short, controlled(2, 0.75, 0.65, False)], plateau=1) is None
    assert stopped([short, controlled(2, 0.68, 0.95, False)], plateau=1) is not None


def test_rounds_that_a_person_went_back_before_are_no_plateau() -> None:
    rows = [row(1, 0.6, True), row(2, 0.55, False, 1), row(3, 0.5, False, 1)]
    assert stopped(rows, plateau=2) is not None
    assert stopped(rows, [back(3, 0)], plateau=2) is None, "the campaign begins anew"
    # Round 2 was refused, and a person goes on with it: it counts with what it gained.
    taken = [row(1, 0.52, True), row(2, 0.58, False, 1), row(3, 0.5, False, 1)]
    assert stopped(taken, plateau={"rounds": 1, "gain": 0.04}) is not None
    assert stopped(taken, [back(3, 2)], plateau={"rounds": 1, "gain": 0.04}) is None


def test_budgets_are_sums_over_the_rounds() -> None:
    rows = [
        row(number, 0.6, True, gpu_seconds=1800.0, money=2.5, seconds_round=900.0)
        for number in (1, 2)
    ]
    for name, within, spent, said in (
        ("gpu_hours", 1.1, 1.0, "1 of 1 GPU-hours used"),
        ("money", 5.1, 5.0, "5 of 5 money used"),
        ("hours", 0.6, 0.5, "0.5 of 0.5 hours used"),
    ):
        assert stopped(rows, **{name: within}) is None, name
        assert stopped(rows, **{name: spent}) == StopReason(name, said)


def test_hours_count_refused_attempts() -> None:
    by_step = {"training": {"seconds": 3000.0}, "evaluation": {"seconds": 600.0}}
    rows = [row(1, 0.6, False, seconds_round=1800.0, cost_by_step=by_step)]
    assert stopped(rows, hours=1.0) is not None


def test_labels_are_those_of_people_where_any_were_asked() -> None:
    judged = [row(1, 0.6, True, labels_by_source={"rule:m:f": 400})]
    assert stopped(judged, labels=401) is None
    assert stopped(judged, labels=400) is not None
    asked = [row(1, 0.6, True, labels_by_source={"rule:m:f": 400, "human:ann": 9, "human:bo": 4})]
    assert stopped(asked, labels=14) is None
    assert stopped([*asked, *asked], labels=26) == StopReason("labels", "26 of 26 labels used")


def test_what_was_not_measured_is_not_spent() -> None:
    rows = [row(1, 0.6, True, gpu_seconds=None, money=None, labels_by_source=None)]
    assert stopped(rows, gpu_hours=0.1, money=0.1, labels=1) is None
