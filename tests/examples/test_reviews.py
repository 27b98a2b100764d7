"""The reviews task: one grammar on both sides, a judge that can be checked by hand."""

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from dpo_core.records import Completion, Prompt, Score
from examples.reviews.grammar import (
    BAD_QUALITIES,
    GOOD_QUALITIES,
    JOINTS,
    NEGATIVE,
    POSITIVE,
    WORDS,
    accepts,
    generate,
    prompts,
    reviews,
)
from examples.reviews.judge import REJECTED, score
from examples.reviews.model import build


def test_what_it_generates_it_accepts() -> None:
    random = Random(0)
    seen = set()
    for _ in range(5_000):
        prompt, completion = generate(random)
        text = f"{prompt} {completion}"
        assert accepts(text), text
        assert prompt.split()[-1] in JOINTS
        seen.add(text)
        assert set(text.split()) <= set(WORDS)
    assert len(seen) > 4_900


def test_nearly_every_mutation_is_rejected() -> None:
    """A word left out, doubled, swapped with its neighbour or put in at random."""
    random = Random(1)
    tried = accepted = 0
    for _ in range(2_000):
        words = " ".join(generate(random)).split()
        at = random.randrange(len(words) - 1)
        for mutated in (
            words[:at] + words[at + 1 :],
            words[: at + 1] + words[at:],
            [*words[:at], words[at + 1], words[at], *words[at + 2 :]],
            [*words[:at], random.choice(WORDS), *words[at:]],
        ):
            tried += 1
            accepted += accepts(" ".join(mutated))
    # No one-word insertion or deletion leaves a review; some swaps of equal words change nothing.
    assert accepted == 0, f"{accepted} of {tried}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "the plot was very dull .",  # one clause only
        "the plot was very dull and i loved the cast",  # no full stop
        "the plot was very dull and i loved the cast . .",
        "the plot was very dull i loved the cast .",  # no joint
        "the plot was very dull and and i loved the cast .",
        "the plot was dull and i loved the cast .",  # no degree
        "the plot was very loved and i loved the cast .",  # a feeling for a quality
        "and the plot was very dull and i loved the cast .",
        " and ".join(["i loved the cast"] * 6) + " .",  # six clauses
    ],
)
def test_not_a_review(text: str) -> None:
    assert not accepts(text)


def test_every_form_and_number_of_clauses_is_a_review() -> None:
    forms = ["the plot was very dull", "i loved the cast", "the hotel felt warm to me"]
    for count in range(2, 6):
        clauses = [forms[i % 3] for i in range(count)]
        assert accepts(" while ".join(clauses) + " .")


def test_the_pool_is_as_large_as_the_grammar_says() -> None:
    rows = [row["prompt"] for row in prompts()]
    # was: things · degrees · qualities; i: feelings · things; seemed: things · verbs · qualities
    clauses = 16 * 6 * 20 + 10 * 16 + 16 * 3 * 20
    assert len(rows) == len(set(rows)) == clauses * len(JOINTS) == 12_160 >= 5_000
    generated = {generate(Random(seed))[0] for seed in range(300)}
    assert generated <= set(rows)


def test_training_reviews_repeat_with_their_seed_and_take_no_side() -> None:
    first = list(islice(reviews(seed=3), 4_000))
    assert first == list(islice(reviews(seed=3), 4_000))
    assert first != list(islice(reviews(seed=4), 4_000))
    words = [word for row in first for word in f"{row['prompt']} {row['completion']}".split()]
    positive = sum(word in POSITIVE for word in words)
    negative = sum(word in NEGATIVE for word in words)
    share = positive / (positive + negative)
    assert abs(share - 0.5) < 4 * (0.25 / (positive + negative)) ** 0.5


PROMPT = Prompt("p", text="the movie was very boring but")


def judged(text: str, finish_reason: str = "stop") -> Score:
    (found,) = score([Completion("c", PROMPT, text, finish_reason, tokens=1)])
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("i loved the cast .", 1.0),
        ("i hated the cast .", -1.0),
        ("i loved the cast and the room felt stale to me .", 0.0),
        ("i loved the cast and i adored the plot so the room felt stale to me .", (2 - 1) / 3),
        ("i hated the cast and i loved the plot so the room felt stale to me .", (1 - 2) / 3),
    ],
)
def test_score_is_the_balance_of_the_words_the_policy_wrote(text: str, value: float) -> None:
    found = judged(text)  # the prompt's own "boring" does not count
    assert found.value == pytest.approx(value)
    assert found.measures == {"accepted": (1, 1)}


@pytest.mark.parametrize(
    ("text", "finish_reason", "reason"),
    [
        ("i loved the cast .", "length", "not finished"),
        ("i loved the cast", "stop", "not a review of the grammar"),
        ("i loved loved loved .", "stop", "not a review of the grammar"),
        ("", "stop", "not a review of the grammar"),
    ],
)
def test_anything_else_scores_below_the_worst_review(
    text: str, finish_reason: str, reason: str
) -> None:
    assert judged(text, finish_reason) == Score(REJECTED, reason, {"accepted": (0, 1)})
    assert REJECTED < -1


def test_qualities_take_one_side_each() -> None:
    assert not POSITIVE & NEGATIVE
    assert len(set(GOOD_QUALITIES)) == len(set(BAD_QUALITIES)) == 10


def test_the_model_is_small_and_its_tokenizer_reads_every_word(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build(tmp_path, seed=0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert 500_000 <= sum(p.numel() for p in model.parameters()) <= 1_000_000
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer(" ".join(WORDS))["input_ids"]
    assert len(ids) == len(WORDS) and tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == " ".join(WORDS)
    assert model.config.eos_token_id == tokenizer.eos_token_id


def test_the_same_seed_builds_the_same_weights(tmp_path: Path) -> None:
    from dpo_core.hashing import policy_id

    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build(tmp_path / name, seed=seed)
    first, again, other = (policy_id(tmp_path / name) for name in "abc")
    assert first == again != other
