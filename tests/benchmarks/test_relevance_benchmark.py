"""Answers of a real chat model, as they are and spoilt: which of them relevance catches."""

from pathlib import Path

import pytest

from benchmarks.relevance import (
    BASE,
    SPOILT,
    Answer,
    change,
    lines,
    measure,
    opened,
    read_prompts,
    relevant,
    trainer,
)
from examples import smollm2

THINGS = ("cat", "trip to the sea", "new bicycle", "birthday cake")
TASKS = (
    "Write a short story about a {}.",
    "Give me three pieces of advice about a {}.",
    "Write a letter to a friend about a {}.",
    "Explain to a child what matters about a {}.",
)
PROMPTS = [task.format(thing) for thing in THINGS for task in TASKS]


def test_how_answers_are_spoilt() -> None:
    answer = Answer(0, "Say something of bicycles", "It has wheels. It rolls. It is red.", "word")
    assert SPOILT["half as many sentences"](answer) == "It has wheels."
    assert SPOILT["copies the prompt"](answer) == answer.prompt
    assert SPOILT["repeats its first sentence"](answer) == " ".join(["It has wheels."] * 3)
    assert SPOILT["fills in a form"](answer).count("word") == 6
    assert SPOILT["a fifth hacked"](answer) == SPOILT["hacked"](answer) != answer.text
    assert SPOILT["a fifth hacked"](Answer(1, "p", "t", "w")) == "t"


def test_prompts_are_taken_evenly_and_once(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'{{"prompt": "{n}"}}\n' for n in (*range(300), 7)), encoding="utf-8")
    assert read_prompts(path) == [str(n) for n in range(0, 256, 2)]


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_spoilt_answers_of_a_real_model_are_caught(tmp_path: Path) -> None:
    if not smollm2.cached().is_file() and smollm2.installed() is None:
        pytest.skip("python -m examples.smollm2 was not run here")
    with trainer(tmp_path) as child:
        model = opened(tmp_path, child, "transformers", 64, "bfloat16")
        measured = measure(model, PROMPTS, len(PROMPTS))
    print("\n".join(lines(measured)))
    assert max(measured.apart) < 0.1, "in bfloat16"
    answers = measured.answers
    base = answers[BASE]
    assert sum(relevant(base).values()) >= 0.8 * len(base)
    for name in ("hacked", "copies the prompt", "repeats its first sentence", "fills in a form"):
        found = change(answers[name], base)
        assert found is not None and found.high < 0 and found.estimate < -0.05, name
    shorter = change(answers["half as many sentences"], base)
    assert shorter is not None and (shorter.high >= 0 or shorter.estimate >= -0.05)
