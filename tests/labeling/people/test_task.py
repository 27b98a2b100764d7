"""What people are asked: orders, gold and repeats, ids."""

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from annotators import pairs

from dpo_core.errors import LabelsError
from dpo_core.records import VERDICTS, Judgement
from labeling.people.argilla_parts import make_record
from labeling.people.gold import GoldItem, read_gold
from labeling.people.task import (
    CHOICES,
    ItemBuilder,
    Opinion,
    RecordContent,
    are_continuations,
    choice_for,
    first_shown,
    joint_opinion,
    pick_gold,
    plan_items,
    verdict_from_choice,
)

ASKING = ItemBuilder(number=3, seed=11)
MESSAGES = ({"role": "user", "content": "Two and two?"},)
GOLD = [GoldItem(f"gold-{n}", MESSAGES, f"four {n}", f"five {n}", "a") for n in range(10)]


def test_a_verdict_is_what_was_answered_in_either_order() -> None:
    for first in ("a", "b"):
        assert [verdict_from_choice(choice_for(v, first), first) for v in VERDICTS] == list(
            VERDICTS
        )
        assert {choice_for(v, first) for v in VERDICTS} == set(CHOICES)
    assert verdict_from_choice("A", "b") == "b"
    assert verdict_from_choice("B", "b") == "a"
    assert verdict_from_choice(None, "a") is None
    assert verdict_from_choice("C", "a") is None


def test_each_pair_has_its_own_order_and_keeps_it() -> None:
    asked = [(pair, "picked at random") for pair in pairs(400)]
    items = plan_items(ASKING, asked, [], 0)
    first = Counter(item.hidden.shown_first for item in items)
    assert abs(first["a"] - 200) < 60  # three standard deviations of 400 throws
    for item, (pair, _) in zip(items, asked, strict=True):
        shown = pair.a if item.hidden.shown_first == "a" else pair.b
        assert item.seen.response_a == shown.text
    assert plan_items(ASKING, asked, [], 0) == items


def test_gold_and_repeats_are_hidden_among_the_pairs() -> None:
    asked = [(pair, "picked at random") for pair in pairs(40)]
    items = plan_items(ASKING, asked, pick_gold(GOLD, 6, 11), 8)
    kinds = [item.hidden.kind for item in items]
    assert Counter(kinds) == {"pair": 40, "gold": 6, "repeat": 8}
    assert "repeat" not in kinds[: len(items) // 3]
    pair_of = {i.hidden.pair_id: i for i in items if i.hidden.kind == "pair"}
    for item in items:
        if item.hidden.kind == "repeat":
            before = pair_of[item.hidden.pair_id]
            assert (item.seen.response_a, item.seen.response_b) == (
                before.seen.response_b,
                before.seen.response_a,
            )
            assert item.hidden.shown_first != before.hidden.shown_first
            assert item.record_id != before.record_id
    assert {item.hidden.expected for item in items if item.hidden.kind == "gold"} == {"a"}
    # What is sent about them has the same form.
    assert len({(type(i.seen), tuple(sorted(i.metadata))) for i in items}) == 1


def test_an_id_is_an_address_of_what_is_seen() -> None:
    (pair,) = pairs(1)
    item = ASKING.item(pair, "picked at random")
    assert ASKING.item(pair, "the scores are close").record_id == item.record_id
    assert replace(ASKING, mode="review").item(pair, "").record_id == item.record_id
    changed = replace(pair, a=replace(pair.a, text=pair.a.text + "!"))
    assert ASKING.item(changed, "").record_id != item.record_id
    prompt = replace(pair.a.prompt, text="Something else?")
    asked_else = replace(pair, a=replace(pair.a, prompt=prompt), b=replace(pair.b, prompt=prompt))
    assert ASKING.item(asked_else, "").record_id != item.record_id
    assert ASKING.item(pair, "", again=True).record_id != item.record_id


def test_a_text_to_continue_looks_different_and_is_the_same_record() -> None:
    text, gold = pairs(1)[0], GOLD[:1]
    messages = ({"role": "user", "content": text.a.prompt.text},)
    prompt = replace(text.a.prompt, text=None, messages=messages)
    chat = replace(text, a=replace(text.a, prompt=prompt), b=replace(text.b, prompt=prompt))
    of_text, of_chat = (plan_items(ASKING, [(pair, "why")], gold, 0) for pair in (text, chat))
    assert [item.record_id for item in of_text] == [item.record_id for item in of_chat]
    assert (are_continuations(of_text), are_continuations(of_chat)) == (True, False)
    assert not are_continuations([*of_text, *of_chat]) and not are_continuations([])
    for item in of_text:
        as_text = make_record(item, "", continuation=True)["fields"]
        as_chat = make_record(item, "")["fields"]
        assert isinstance(as_text, dict) and isinstance(as_chat, dict)
        assert [as_text["prompt"]] == [each["content"] for each in as_chat["prompt"]]
    long = RecordContent((("user", "a" * 20_000), ("user", "b")), "", "", continues=True)
    assert long.prompt_text() == "a" * 20_000 + "b"


def test_identical_texts_are_asked_once() -> None:
    (pair,) = pairs(1)
    same = replace(pair, b=replace(pair.b, text=pair.a.text))
    assert [i.hidden.kind for i in plan_items(ASKING, [(same, "")], [], 1)] == ["pair"]


def test_opinions_are_shown_in_review_only_and_in_the_order_of_the_pair() -> None:
    found = pairs(20)
    opinions = {p.pair_id: Judgement("a", confidence=0.75) for p in found[:10]}
    asked = [(pair, "") for pair in found]
    blind = plan_items(replace(ASKING, opinions=opinions, agent="rule:x"), asked, [], 0)
    assert {item.opinion for item in blind} == {None}
    review = replace(ASKING, mode="review", opinions=opinions, agent="rule:x")
    for item in plan_items(review, asked, [], 5):
        says = "A" if item.hidden.shown_first == "a" else "B"
        known = item.hidden.pair_id in opinions
        assert item.opinion == (Opinion(says, "rule:x", 0.75) if known else None)
        assert item.hidden.mode == "review"


def test_joint_opinion() -> None:
    a, b = Judgement("a", confidence=0.9), Judgement("b", confidence=0.6)
    assert joint_opinion([]) is None
    assert joint_opinion([Judgement(None)]) is None
    assert joint_opinion([a, b]) is None
    assert joint_opinion([a, b, Judgement("a", confidence=0.7)]) == Judgement("a", confidence=0.8)


def test_reading_gold(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Two and two?", "a": "four", "b": "five", "verdict": "a", "tags": "sums"},
        {"prompt": [{"role": "user", "content": "Hi"}], "a": "x", "b": "y", "verdict": "both_bad"},
    ]
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    first, second = read_gold(path)
    assert asdict(first) == {
        "pair_id": first.pair_id,
        "messages": MESSAGES,
        "a": "four",
        "b": "five",
        "verdict": "a",
        "tags": ("sums",),
    }
    assert (second.verdict, second.tags, second.messages[0]["content"]) == ("both_bad", (), "Hi")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"prompt": "x", "a": "y", "b": "z"}',
        '{"prompt": "x", "a": "y", "b": "z", "verdict": "A"}',
        '{"prompt": "x", "a": 1, "b": "z", "verdict": "a"}',
        '{"prompt": ["x"], "a": "y", "b": "z", "verdict": "a"}',
    ],
)
def test_gold_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(LabelsError, match=r"gold\.jsonl line 2 is not a pair"):
        read_gold(path)


def test_which_completion_is_first_is_the_same_everywhere() -> None:
    assert first_shown(7, "x") == first_shown(7, "x") != first_shown(7, "x", again=True)
