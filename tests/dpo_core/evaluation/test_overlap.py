"""Shared runs of words, by hand."""

import pytest

from dpo_core.evaluation.overlap import Overlap, find_overlap

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def test_a_shared_run_counts_case_and_signs_apart() -> None:
    held_out = {"p": f"Please say: {LONG}.", "q": "something else entirely, nothing of the kind"}
    assert find_overlap(held_out, ["x", f"{LONG.upper()}!"]) == Overlap(("p",), 2, 13)


def test_a_run_must_be_whole() -> None:
    twelve = " ".join(LONG.split()[:12])
    assert find_overlap({"p": f"{twelve} and more of it"}, [f"before {twelve} after"]).prompts == ()
    assert find_overlap({"p": f"{twelve} and"}, [f"before {twelve} after"], ngram=12).prompts == (
        "p",
    )


def test_a_template_of_several_held_out_prompts_does_not_count() -> None:
    held_out = {"p": f"{LONG} alpha", "q": f"{LONG} beta"}
    assert find_overlap(held_out, [f"{LONG} gamma"]).prompts == ()


def test_a_short_prompt_counts_where_it_is_most_of_the_other() -> None:
    held_out = {"p": "name a red fruit", "q": ""}
    assert find_overlap(held_out, ["Now name a red fruit, please"]).prompts == ("p",)
    assert find_overlap(held_out, [f"{LONG} name a red fruit {LONG}"]).prompts == ()


def test_no_training_prompts_and_nonsense() -> None:
    assert find_overlap({"p": LONG}, []) == Overlap((), 1, 13)
    with pytest.raises(ValueError, match="at least 1"):
        find_overlap({}, [], ngram=0)
