"""Which pairs of which rounds are trained on."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dpo_core.hashing import derive_seed
from labeling.pairs.training_pairs import (
    NOT_DRAWN,
    TWICE,
    Kind,
    RoundPairs,
    TrainingPairs,
    select_training_pairs,
)

SEED = 11


def pairs(letter: str, count: int) -> list[str]:
    return [f"{letter}{n}" for n in range(count)]


def test_all_rounds() -> None:
    rounds = [RoundPairs(1, "earlier", ["p", "q"]), RoundPairs(2, "latest", ["r"])]
    assert select_training_pairs(rounds, None, SEED) == TrainingPairs(
        {1: frozenset(("p", "q")), 2: frozenset(("r",))}, {}
    )


def test_a_pair_that_several_rounds_have_is_used_as_the_last_of_them_has_it() -> None:
    rounds = [
        RoundPairs(1, "imported", ["p", "q"]),
        RoundPairs(2, "earlier", ["q", "r"]),
        RoundPairs(3, "latest", ["q", "s"]),
    ]
    found = select_training_pairs(rounds, None, SEED)
    assert found.kept == {1: {"p"}, 2: {"r"}, 3: {"q", "s"}}
    assert found.dropped == {TWICE: 2}


def test_a_mix_uses_the_latest_round_whole_and_of_the_others_their_shares() -> None:
    rounds = [
        RoundPairs(1, "imported", pairs("i", 50)),
        RoundPairs(2, "earlier", pairs("e", 30)),
        RoundPairs(3, "earlier", pairs("f", 30)),
        RoundPairs(4, "latest", pairs("l", 20)),
    ]
    weights: dict[Kind, float] = {"latest": 0.5, "earlier": 0.3, "imported": 0.2}
    found = select_training_pairs(rounds, weights, SEED)
    # 20 of the latest are a half, so three tenths are 12 and a fifth is 8.
    assert found.kept[4] == set(pairs("l", 20))
    by_hash = sorted(pairs("e", 30) + pairs("f", 30), key=lambda p: derive_seed(SEED, p))
    assert found.kept[2] | found.kept[3] == set(by_hash[:12])
    assert len(found.kept[1]) == 8
    assert found.dropped == {NOT_DRAWN: 48 + 42}
    assert (
        select_training_pairs(rounds, {kind: 7 * w for kind, w in weights.items()}, SEED) == found
    )
    assert select_training_pairs(rounds, weights, SEED + 1) != found
    without = select_training_pairs(rounds, {**weights, "imported": 0.0}, SEED)
    assert without.kept == {**found.kept, 1: frozenset()}


def test_a_mix_takes_what_is_there_where_a_kind_has_too_few() -> None:
    rounds = [RoundPairs(1, "earlier", pairs("e", 5)), RoundPairs(2, "latest", pairs("l", 20))]
    found = select_training_pairs(rounds, {"latest": 1.0, "earlier": 1.0, "imported": 1.0}, SEED)
    assert {n: len(kept) for n, kept in found.kept.items()} == {1: 5, 2: 20}
    assert found.dropped == {}


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=1, max_size=4),
    st.none() | st.tuples(st.floats(0.1, 5), st.floats(0, 5)),
)
def test_every_pair_is_used_once_or_counted(
    drawn: Sequence[Sequence[str]], mixed: tuple[float, float] | None
) -> None:
    rounds = [
        RoundPairs(n, "latest" if n == len(drawn) else "earlier", ids)
        for n, ids in enumerate(drawn, 1)
    ]
    weights: dict[Kind, float] | None = None
    if mixed is not None:
        weights = {"latest": mixed[0], "earlier": mixed[1], "imported": 0.0}
    found = select_training_pairs(rounds, weights, SEED)
    kept = [pair for ids in found.kept.values() for pair in ids]
    assert len(kept) == len(set(kept))
    assert len(kept) + sum(found.dropped.values()) == sum(map(len, drawn))
    assert found.kept[len(drawn)] == set(drawn[-1])  # the latest round's are used whole
